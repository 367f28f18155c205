# SPDX-License-Identifier: Apache-2.0
# Install rules: headers, library, CMake package, pkg-config file, licence. The component shmdict_runtime is what programs
# need to run, shmdict_development what compiling needs.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(shmdict_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/shmdict)

install(TARGETS shmdict_core shmdict_cpp shmdict_json shmdict_fmt EXPORT shmdictTargets
  LIBRARY COMPONENT shmdict_runtime NAMELINK_COMPONENT shmdict_development
  ARCHIVE COMPONENT shmdict_development
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY c-core/include/ cpp/include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  COMPONENT shmdict_development FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")
install(EXPORT shmdictTargets NAMESPACE shmdict:: DESTINATION ${shmdict_cmake_dir} COMPONENT shmdict_development)
# xxHash is compiled into the library; its licence travels with binaries.
install(FILES LICENSE c-core/doc/third-party-notices.txt
  DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/shmdict COMPONENT shmdict_runtime)

get_target_property(shmdict_core_type shmdict_core TYPE)
set(shmdict_static OFF)
if(shmdict_core_type STREQUAL "STATIC_LIBRARY")
  set(shmdict_static ON)
endif()

configure_package_config_file(cmake/shmdictConfig.cmake.in ${PROJECT_BINARY_DIR}/shmdictConfig.cmake
  INSTALL_DESTINATION ${shmdict_cmake_dir} PATH_VARS CMAKE_INSTALL_BINDIR NO_CHECK_REQUIRED_COMPONENTS_MACRO)
# Until 1.0 a minor version may change the API.
set(shmdict_compatibility SameMajorVersion)
if(PROJECT_VERSION_MAJOR EQUAL 0)
  set(shmdict_compatibility SameMinorVersion)
endif()
write_basic_package_version_file(${PROJECT_BINARY_DIR}/shmdictConfigVersion.cmake
  COMPATIBILITY ${shmdict_compatibility})
install(FILES ${PROJECT_BINARY_DIR}/shmdictConfig.cmake ${PROJECT_BINARY_DIR}/shmdictConfigVersion.cmake
  DESTINATION ${shmdict_cmake_dir} COMPONENT shmdict_development)

# The paths in the .pc file are relative to where it lies, so that a prefix can be moved; absolute ones stay.
file(RELATIVE_PATH shmdict_pc_prefix ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" shmdict_pc_prefix "${shmdict_pc_prefix}")
foreach(dir INCLUDEDIR LIBDIR)
  set(shmdict_pc_${dir} "\${prefix}/${CMAKE_INSTALL_${dir}}")
  if(IS_ABSOLUTE "${CMAKE_INSTALL_${dir}}")
    set(shmdict_pc_${dir} ${CMAKE_INSTALL_${dir}})
  endif()
endforeach()
set(shmdict_pc_cflags)
set(shmdict_pc_libs)
if(shmdict_static)
  set(shmdict_pc_cflags " -DSHMD_STATIC")
  set(shmdict_pc_libs " -pthread")
endif()
configure_file(cmake/shmdict.pc.in ${PROJECT_BINARY_DIR}/shmdict.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/shmdict.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig
  COMPONENT shmdict_development)
