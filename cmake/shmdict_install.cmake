# Install rules: headers, library, CMake package, pkg-config file.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(shmdict_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/shmdict)

install(TARGETS shmdict_core shmdict_cpp EXPORT shmdictTargets
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY c-core/include/ cpp/include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT shmdictTargets NAMESPACE shmdict:: DESTINATION ${shmdict_cmake_dir})

configure_package_config_file(cmake/shmdictConfig.cmake.in ${PROJECT_BINARY_DIR}/shmdictConfig.cmake
  INSTALL_DESTINATION ${shmdict_cmake_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/shmdictConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/shmdictConfig.cmake ${PROJECT_BINARY_DIR}/shmdictConfigVersion.cmake
  DESTINATION ${shmdict_cmake_dir})

# The paths in the .pc file are relative to where it lies, so that a prefix can be moved.
file(RELATIVE_PATH shmdict_pc_prefix ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" shmdict_pc_prefix "${shmdict_pc_prefix}")
get_target_property(shmdict_core_type shmdict_core TYPE)
if(shmdict_core_type STREQUAL "STATIC_LIBRARY")
  set(shmdict_pc_cflags "-DSHMD_STATIC")
  set(shmdict_pc_libs "-pthread")
endif()
configure_file(cmake/shmdict.pc.in ${PROJECT_BINARY_DIR}/shmdict.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/shmdict.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
