import os
import re

from conan import ConanFile
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout
from conan.tools.files import copy, load


class ShmdictConan(ConanFile):
    name = "shmdict"
    description = "A dictionary in shared memory for every thread of every process on a machine"
    license = "Apache-2.0"
    settings = "os", "arch", "compiler", "build_type"
    options = {"shared": [True, False]}
    default_options = {"shared": False}

    def set_version(self):
        lists = load(self, os.path.join(self.recipe_folder, "..", "CMakeLists.txt"))
        self.version = re.search(r"VERSION (\d+\.\d+\.\d+)", lists).group(1)

    def export_sources(self):
        root = os.path.join(self.recipe_folder, "..")
        for pattern in ("CMakeLists.txt", "LICENSE", "cmake/*", "c-core/*", "cpp/*"):
            copy(self, pattern, root, self.export_sources_folder)

    def build_requirements(self):
        self.test_requires("xxhash/[>=0.8]")  # its header, compiled into the library

    def layout(self):
        cmake_layout(self)

    def generate(self):
        CMakeDeps(self).generate()
        toolchain = CMakeToolchain(self)
        for what in ("TESTS", "BENCH", "EXAMPLES"):
            toolchain.cache_variables["SHMDICT_" + what] = False
        toolchain.cache_variables["SHMDICT_INSTALL"] = True
        toolchain.generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        CMake(self).install()

    def package_info(self):
        # The installed CMake package is the one to find: it has the targets under their own names.
        self.cpp_info.set_property("cmake_find_mode", "none")
        self.cpp_info.builddirs = [os.path.join("lib", "cmake", "shmdict")]
        self.cpp_info.libs = ["shmdict"]
