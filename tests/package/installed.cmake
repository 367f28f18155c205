# SPDX-License-Identifier: Apache-2.0
# Consumers of an installed library: static (this build) and shared, both installed with DESTDIR and moved (stage.sh).
set(consumer ${CMAKE_CURRENT_SOURCE_DIR}/consumer)
set(stage ${CMAKE_CURRENT_BINARY_DIR}/stage)
include(GNUInstallDirs)

# shmdict_package_test(name [REQUIRES fixture...] COMMAND ...): exit code 77 skips.
function(shmdict_package_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "SETUP" "REQUIRES;COMMAND")
  add_test(NAME "package.${name}" COMMAND ${arg_COMMAND})
  set_tests_properties("package.${name}" PROPERTIES LABELS "package;build" TIMEOUT 1200 SKIP_RETURN_CODE 77)
  if(arg_SETUP)
    set_tests_properties("package.${name}" PROPERTIES FIXTURES_SETUP ${arg_SETUP})
  endif()
  if(arg_REQUIRES)
    set_tests_properties("package.${name}" PROPERTIES FIXTURES_REQUIRED "${arg_REQUIRES}")
  endif()
endfunction()

set(this static)
set(other shared)
if(BUILD_SHARED_LIBS)
  set(this shared)
  set(other static)
endif()
string(COMPARE EQUAL ${other} shared other_is_shared)
set(other_build ${CMAKE_CURRENT_BINARY_DIR}/${other})

shmdict_package_test("the ${this} library is installed, and the prefix moved" SETUP stage_${this}
  COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/stage.sh ${PROJECT_BINARY_DIR} ${stage}/${this})
shmdict_package_test("the ${other} library builds alone" SETUP build_${other}
  COMMAND ${CMAKE_CTEST_COMMAND} --build-and-test ${PROJECT_SOURCE_DIR} ${other_build}
    --build-generator ${CMAKE_GENERATOR} --build-noclean --build-options
      -DBUILD_SHARED_LIBS=${other_is_shared} -DCMAKE_BUILD_TYPE=Release -DSHMDICT_WERROR=ON
      -DSHMDICT_TESTS=OFF -DSHMDICT_BENCH=OFF -DSHMDICT_EXAMPLES=OFF -DSHMDICT_CLI=OFF
      -DCMAKE_C_COMPILER=${CMAKE_C_COMPILER} -DCMAKE_CXX_COMPILER=${CMAKE_CXX_COMPILER})
shmdict_package_test("the ${other} library is installed, and the prefix moved" SETUP stage_${other} REQUIRES build_${other}
  COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/stage.sh ${other_build} ${stage}/${other})

foreach(type static shared)
  shmdict_package_test("the ${type} library is installed with its licence and xxHash's notice" REQUIRES stage_${type}
    COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/licences_test.sh ${PROJECT_SOURCE_DIR} ${stage}/${type})
endforeach()

# Consumers with CMake. Clang is another compiler than this build's, where there is one.
function(shmdict_consumer name way standards adapters)
  cmake_parse_arguments(PARSE_ARGV 4 arg "" "CC;CXX" "REQUIRES;OPTIONS")
  get_filename_component(compiler_name ${arg_CC} NAME)
  shmdict_package_test("programs build and run with ${name}" REQUIRES ${arg_REQUIRES}
    COMMAND ${CMAKE_CTEST_COMMAND} --build-and-test ${consumer} ${CMAKE_CURRENT_BINARY_DIR}/consumer/${way}_${compiler_name}
      --build-generator ${CMAKE_GENERATOR} --build-noclean
      --build-options -DWAY=${way} "-DSTANDARDS=${standards}" -DADAPTERS=${adapters} ${arg_OPTIONS}
        -DCMAKE_C_COMPILER=${arg_CC} -DCMAKE_CXX_COMPILER=${arg_CXX}
      --test-command ${CMAKE_CTEST_COMMAND} --output-on-failure --no-tests=error)
endfunction()

set(compiler CC ${CMAKE_C_COMPILER} CXX ${CMAKE_CXX_COMPILER})
shmdict_consumer("find_package and the ${this} library" find_package "17;20;23" ON ${compiler}
  REQUIRES stage_${this} OPTIONS -DCMAKE_PREFIX_PATH=${stage}/${this})
shmdict_consumer("add_subdirectory and the ${other} library" add_subdirectory 17 ON ${compiler}
  OPTIONS -DSHMDICT_SOURCE=${PROJECT_SOURCE_DIR} -DBUILD_SHARED_LIBS=${other_is_shared})
shmdict_consumer("FetchContent" FetchContent 17 OFF ${compiler} OPTIONS -DSHMDICT_SOURCE=${PROJECT_SOURCE_DIR})
find_program(SHMDICT_CLANG clang DOC "For consumers with another compiler than this build's")
find_program(SHMDICT_CLANGXX clang++ DOC "For consumers with another compiler than this build's")
if(SHMDICT_CLANG AND SHMDICT_CLANGXX)
  shmdict_consumer("Clang, find_package and the ${other} library" find_package "17;20;23" ON
    CC ${SHMDICT_CLANG} CXX ${SHMDICT_CLANGXX}
    REQUIRES stage_${other} OPTIONS -DCMAKE_PREFIX_PATH=${stage}/${other})
else()
  shmdict_package_test("programs build and run with Clang, find_package and the ${other} library"
    COMMAND sh -c "echo 'skipped: Clang is not installed' && exit 77")
endif()

# find_package's versions and components.
shmdict_package_test("find_package knows its versions and components" REQUIRES stage_${this}
  COMMAND ${CMAKE_COMMAND} -S ${CMAKE_CURRENT_SOURCE_DIR}/components -B ${CMAKE_CURRENT_BINARY_DIR}/components
    -G ${CMAKE_GENERATOR} -DCMAKE_PREFIX_PATH=${stage}/${this} -DVERSION=${PROJECT_VERSION}
    -DCOMMAND=$<TARGET_EXISTS:shmdict_cli> -DCMAKE_C_COMPILER=${CMAKE_C_COMPILER})

# A plain Makefile.
find_program(SHMDICT_MAKE NAMES make gmake DOC "For the consumer without CMake")
foreach(type static shared)
  if(SHMDICT_MAKE)
    set(directory ${CMAKE_CURRENT_BINARY_DIR}/makefile_${type})
    file(MAKE_DIRECTORY ${directory})
    shmdict_package_test("programs build and run with pkg-config, a Makefile and the ${type} library" REQUIRES stage_${type}
      COMMAND ${CMAKE_COMMAND} -E env PKG_CONFIG_PATH=${stage}/${type}/${CMAKE_INSTALL_LIBDIR}/pkgconfig
        ${SHMDICT_MAKE} -B -C ${directory} -f ${CMAKE_CURRENT_SOURCE_DIR}/makefile/Makefile
        SOURCES=${consumer} CC=${CMAKE_C_COMPILER} CXX=${CMAKE_CXX_COMPILER} check)
  else()
    shmdict_package_test("programs build and run with pkg-config, a Makefile and the ${type} library"
      COMMAND sh -c "echo 'skipped: make is not installed' && exit 77")
  endif()
endforeach()

# Package managers.
shmdict_package_test("Conan creates the package, static and shared" COMMAND
  ${CMAKE_CURRENT_SOURCE_DIR}/conan/conan_test.sh ${PROJECT_SOURCE_DIR} ${CMAKE_CURRENT_BINARY_DIR}/conan)
foreach(linkage static dynamic)
  shmdict_package_test("a dry run of the vcpkg port, ${linkage}"
    COMMAND ${CMAKE_COMMAND} -DSOURCE=${PROJECT_SOURCE_DIR} -DWORK=${CMAKE_CURRENT_BINARY_DIR}/vcpkg -DLINKAGE=${linkage}
      -DC_COMPILER=${CMAKE_C_COMPILER} -DCXX_COMPILER=${CMAKE_CXX_COMPILER}
      -P ${CMAKE_CURRENT_SOURCE_DIR}/vcpkg_dry_run.cmake)
endforeach()
set_tests_properties("package.a dry run of the vcpkg port, static" "package.a dry run of the vcpkg port, dynamic"
  PROPERTIES RESOURCE_LOCK vcpkg)
