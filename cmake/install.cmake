# Installs the library, its headers, the CMake package and the pkg-config files: `tenon`, and run tracking alone, which asks
# for less. To be included after the static libraries are complete: what the package files ask of a user is read from what
# the targets link, so they cannot disagree. What only the build needs (header-only libraries, warnings) is linked as
# $<BUILD_INTERFACE:...> and asked of nobody.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

option(TENON_INSTALL "Add Tenon's install rules" ${PROJECT_IS_TOP_LEVEL})
if(NOT TENON_INSTALL)
  return()
endif()

# One line a library that Tenon may link: its CMake target, how to find it, its pkg-config module, its link flags.
macro(tenon_dependency target find_line module flags)
  if(links MATCHES "${target}")
    string(APPEND ${prefix}_FIND_DEPENDENCIES "find_dependency(${find_line})\n")
    string(APPEND ${prefix}_PC_REQUIRES " ${module}")
    string(APPEND ${prefix}_PC_LIBS " ${flags}")
  endif()
endmacro()

# What a target links: <name>_FIND_DEPENDENCIES (lines of tenon-config.cmake), <name>_PC_REQUIRES (modules of a pkg-config
# file) and <name>_PC_LIBS (its further link flags).
macro(tenon_dependencies name target)
  get_target_property(links ${target} INTERFACE_LINK_LIBRARIES)
  string(REGEX REPLACE "\\$<BUILD_INTERFACE:[^>]*>" "" links "${links}")
  set(prefix ${name})
  set(${name}_FIND_DEPENDENCIES "")
  set(${name}_PC_REQUIRES "")
  set(${name}_PC_LIBS "")
  tenon_dependency("OpenMP::OpenMP_CXX" "OpenMP COMPONENTS CXX" "" "${OpenMP_CXX_FLAGS}")
  tenon_dependency("Threads::Threads" "Threads" "" "-pthread")
  tenon_dependency("ZLIB::ZLIB" "ZLIB" "zlib" "")
  tenon_dependency("fmt::fmt" "fmt" "fmt" "")
  tenon_dependency("nlohmann_json::nlohmann_json" "nlohmann_json" "nlohmann_json" "")
  tenon_dependency("CLI11::CLI11" "CLI11" "CLI11" "")
  tenon_dependency("CURL::libcurl" "CURL" "libcurl" "")
endmacro()
tenon_dependencies(TENON tenon)
tenon_dependencies(TENON_TRACK tenon_track)
if(CMAKE_DL_LIBS)
  string(APPEND TENON_PC_LIBS " -l${CMAKE_DL_LIBS}")
endif()

install(
  TARGETS tenon_track tenon_files
  EXPORT tenon-track-targets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT tenon
  INCLUDES
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(
  TARGETS tenon
  EXPORT tenon-targets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT tenon
  INCLUDES
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(
  DIRECTORY ${PROJECT_SOURCE_DIR}/include/tenon
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  COMPONENT tenon
  FILES_MATCHING
  PATTERN "*.hpp")

if(TARGET tenon_cuda)
  install(TARGETS tenon_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/tenon COMPONENT tenon)
endif()

set(tenon_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/tenon)
foreach(export tenon tenon-track)
  install(
    EXPORT ${export}-targets
    NAMESPACE tenon::
    DESTINATION ${tenon_cmake_dir}
    COMPONENT tenon)
endforeach()
configure_package_config_file(
  ${CMAKE_CURRENT_LIST_DIR}/tenon-config.cmake.in ${PROJECT_BINARY_DIR}/package/tenon-config.cmake
  INSTALL_DESTINATION ${tenon_cmake_dir}
  NO_SET_AND_CHECK_MACRO)
# Before 1.0 a minor version may change the API.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/package/tenon-config-version.cmake
                                 COMPATIBILITY SameMinorVersion)
install(
  FILES ${PROJECT_BINARY_DIR}/package/tenon-config.cmake ${PROJECT_BINARY_DIR}/package/tenon-config-version.cmake
  DESTINATION ${tenon_cmake_dir}
  COMPONENT tenon)

# The pkg-config files find their prefix from where they lie, so that an installed tree can be moved.
file(RELATIVE_PATH TENON_PC_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" TENON_PC_PREFIX "${TENON_PC_PREFIX}")
foreach(prefix TENON TENON_TRACK)
  foreach(list LIBS REQUIRES)
    string(REGEX REPLACE " +" " " ${prefix}_PC_${list} "${${prefix}_PC_${list}}")
  endforeach()
  string(STRIP "${${prefix}_PC_REQUIRES}" ${prefix}_PC_REQUIRES)
  string(REGEX REPLACE " $" "" ${prefix}_PC_LIBS "${${prefix}_PC_LIBS}")
endforeach()
foreach(module tenon tenon-track)
  configure_file(${CMAKE_CURRENT_LIST_DIR}/${module}.pc.in ${PROJECT_BINARY_DIR}/package/${module}.pc @ONLY)
  install(
    FILES ${PROJECT_BINARY_DIR}/package/${module}.pc
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig
    COMPONENT tenon)
endforeach()
