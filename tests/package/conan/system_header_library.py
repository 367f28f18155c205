# SPDX-License-Identifier: Apache-2.0
# Test only: the system's header of a library under the name and version that ConanCenter has it by, so that shmdict's
# recipe is tested without a remote. Which one: --name and --version.
import os

from conan import ConanFile
from conan.tools.files import copy


class SystemHeaderLibrary(ConanFile):
    package_type = "header-library"
    no_copy_source = True
    headers = {
        "nlohmann_json": ["nlohmann/*"],
        "fmt": ["fmt/*"],
        "xxhash": ["xxhash.h", "xxh3.h"],
        "cli11": ["CLI/*"],
    }

    def package(self):
        for pattern in self.headers[self.name]:
            if not copy(self, pattern, "/usr/include", os.path.join(self.package_folder, "include")):
                if pattern != "xxh3.h":  # a part of xxhash.h in newer versions
                    raise FileNotFoundError(pattern)

    def package_info(self):
        self.cpp_info.bindirs = self.cpp_info.libdirs = []
        targets = {"nlohmann_json": "nlohmann_json::nlohmann_json", "fmt": "fmt::fmt", "cli11": "CLI11::CLI11"}
        if self.name in targets:
            self.cpp_info.set_property("cmake_target_name", targets[self.name])
        if self.name == "cli11":
            self.cpp_info.set_property("cmake_file_name", "CLI11")
        if self.name == "fmt":
            self.cpp_info.defines = ["FMT_HEADER_ONLY=1"]

    def package_id(self):
        self.info.clear()
