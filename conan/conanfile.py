# SPDX-License-Identifier: Apache-2.0
import os
import re

from conan import ConanFile
from conan.errors import ConanInvalidConfiguration
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout
from conan.tools.files import copy, load, rmdir

required_conan_version = ">=2.0"


class ShmdictConan(ConanFile):
    name = "shmdict"
    description = "A dictionary in shared memory for every thread of every process on a machine"
    license = "Apache-2.0"
    topics = ("shared-memory", "dictionary", "ipc", "lock-free")
    package_type = "library"
    settings = "os", "arch", "compiler", "build_type"
    options = {
        "shared": [True, False],
        "fPIC": [True, False],
        "with_json": [True, False],  # shm/json.hpp
        "with_fmt": [True, False],  # shm/fmt.hpp
        "with_cli": [True, False],  # the command shmdict
    }
    default_options = {"shared": False, "fPIC": True, "with_json": True, "with_fmt": True, "with_cli": False}
    implements = ["auto_shared_fpic"]

    def set_version(self):
        header = load(self, os.path.join(self.recipe_folder, "..", "c-core", "include", "shmdict", "version.h"))
        self.version = ".".join(
            re.search(rf"#define SHMDICT_VERSION_{part} (\d+)", header).group(1) for part in ("MAJOR", "MINOR", "PATCH")
        )

    def export_sources(self):
        root = os.path.join(self.recipe_folder, "..")
        for pattern in ("CMakeLists.txt", "LICENSE", "cmake/*", "c-core/*", "cpp/*"):
            copy(self, pattern, root, self.export_sources_folder)

    def layout(self):
        cmake_layout(self)

    def requirements(self):
        # Included by shmdict's headers, so they travel on; the command links them as well.
        if self.options.with_json or self.options.with_cli:
            self.requires("nlohmann_json/[>=3.11 <4]", transitive_headers=True)
        if self.options.with_fmt or self.options.with_cli:
            self.requires("fmt/[>=9 <13]", transitive_headers=True)

    def build_requirements(self):
        self.test_requires("xxhash/[>=0.8 <0.9]")  # its header, compiled into the library
        if self.options.with_cli:
            self.test_requires("cli11/[>=2.1 <3]")

    def validate(self):
        if self.settings.os != "Linux":
            raise ConanInvalidConfiguration(f"shmdict has no port to {self.settings.os} yet")
        if self.settings.arch in ("x86", "armv6", "armv7", "armv7hf", "armv7s"):
            raise ConanInvalidConfiguration("shmdict needs a 64-bit platform")
        if self.settings.compiler.get_safe("cppstd"):
            check_min_cppstd(self, 17)

    def generate(self):
        CMakeDeps(self).generate()
        toolchain = CMakeToolchain(self)
        for what in ("TESTS", "BENCH", "EXAMPLES"):
            toolchain.cache_variables["SHMDICT_" + what] = False
        toolchain.cache_variables["SHMDICT_CLI"] = bool(self.options.with_cli)
        toolchain.cache_variables["SHMDICT_INSTALL"] = True
        toolchain.generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        CMake(self).install()
        licenses = os.path.join(self.package_folder, "licenses")
        copy(self, "LICENSE", self.source_folder, licenses)
        copy(self, "third-party-notices.txt", os.path.join(self.source_folder, "c-core", "doc"), licenses)
        # Conan's generators describe the package to CMake and pkg-config.
        for path in (("lib", "cmake"), ("lib", "pkgconfig"), ("share", "doc")):
            rmdir(self, os.path.join(self.package_folder, *path))

    def package_info(self):
        # The targets and names of the installed CMake package and pkg-config file.
        self.cpp_info.set_property("cmake_file_name", "shmdict")
        self.cpp_info.set_property("pkg_config_name", "shmdict-all")
        core = self.cpp_info.components["core"]
        core.set_property("cmake_target_name", "shmdict::core")
        core.set_property("pkg_config_name", "shmdict")
        core.libs = ["shmdict"]
        if not self.options.shared:
            core.defines = ["SHMD_STATIC"]
            core.system_libs = ["pthread"]
        cpp = self.cpp_info.components["cpp"]
        cpp.set_property("cmake_target_name", "shmdict::cpp")
        cpp.requires = ["core"]
        cpp.libs = cpp.libdirs = []
        for name, target, wanted in (
            ("json", "nlohmann_json::nlohmann_json", self.options.with_json or self.options.with_cli),
            ("fmt", "fmt::fmt", self.options.with_fmt or self.options.with_cli),
        ):
            if wanted:
                adapter = self.cpp_info.components[name]
                adapter.set_property("cmake_target_name", "shmdict::" + name)
                adapter.requires = ["cpp", target]
                adapter.libs = adapter.libdirs = []
