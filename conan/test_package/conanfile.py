# SPDX-License-Identifier: Apache-2.0
import os

from conan import ConanFile
from conan.tools.build import can_run
from conan.tools.cmake import CMake, CMakeToolchain, cmake_layout


class TestPackage(ConanFile):
    settings = "os", "arch", "compiler", "build_type"
    generators = "CMakeDeps", "VirtualRunEnv"

    def requirements(self):
        self.requires(self.tested_reference_str, run=True)  # with_cli: the command, on the PATH

    def layout(self):
        cmake_layout(self)

    def generate(self):
        options = self.dependencies["shmdict"].options
        toolchain = CMakeToolchain(self)
        toolchain.cache_variables["WITH_JSON"] = bool(options.with_json)
        toolchain.cache_variables["WITH_FMT"] = bool(options.with_fmt)
        toolchain.generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def test(self):
        if not can_run(self):
            return
        self.run(os.path.join(self.cpp.build.bindir, "test_package_c"), env="conanrun")
        self.run(os.path.join(self.cpp.build.bindir, "test_package"), env="conanrun")
        if self.dependencies["shmdict"].options.with_cli:
            self.run("shmdict --version", env="conanrun")
