# Installs the library, its headers, the CMake package and the pkg-config file. To be included after the static library
# `tenon` is complete: what the package files ask of a user is read from what the target links, so they cannot disagree.
# What only the build needs (header-only libraries, warnings) is linked as $<BUILD_INTERFACE:...> and asked of nobody.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

option(TENON_INSTALL "Add Tenon's install rules" ${PROJECT_IS_TOP_LEVEL})
if(NOT TENON_INSTALL)
  return()
endif()

get_target_property(tenon_links tenon INTERFACE_LINK_LIBRARIES)
string(REGEX REPLACE "\\$<BUILD_INTERFACE:[^>]*>" "" tenon_links "${tenon_links}")

set(TENON_FIND_DEPENDENCIES "")  # lines of tenon-config.cmake
set(TENON_PC_REQUIRES "")        # modules of tenon.pc
set(TENON_PC_LIBS "")            # further link flags of tenon.pc

# One line a library that Tenon may link: its CMake target, how to find it, its pkg-config module, its link flags.
macro(tenon_dependency target find_line module flags)
  if(tenon_links MATCHES "${target}")
    string(APPEND TENON_FIND_DEPENDENCIES "find_dependency(${find_line})\n")
    string(APPEND TENON_PC_REQUIRES " ${module}")
    string(APPEND TENON_PC_LIBS " ${flags}")
  endif()
endmacro()
tenon_dependency("OpenMP::OpenMP_CXX" "OpenMP COMPONENTS CXX" "" "${OpenMP_CXX_FLAGS}")
tenon_dependency("Threads::Threads" "Threads" "" "-pthread")
tenon_dependency("ZLIB::ZLIB" "ZLIB" "zlib" "")
tenon_dependency("fmt::fmt" "fmt" "fmt" "")
tenon_dependency("nlohmann_json::nlohmann_json" "nlohmann_json" "nlohmann_json" "")
tenon_dependency("CLI11::CLI11" "CLI11" "CLI11" "")
tenon_dependency("CURL::libcurl" "CURL" "libcurl" "")
if(CMAKE_DL_LIBS)
  string(APPEND TENON_PC_LIBS " -l${CMAKE_DL_LIBS}")
endif()

install(
  TARGETS tenon tenon_track tenon_files
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
install(
  EXPORT tenon-targets
  NAMESPACE tenon::
  DESTINATION ${tenon_cmake_dir}
  COMPONENT tenon)
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

# The pkg-config file finds its prefix from where it lies, so that an installed tree can be moved.
file(RELATIVE_PATH TENON_PC_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" TENON_PC_PREFIX "${TENON_PC_PREFIX}")
string(REGEX REPLACE " +" " " TENON_PC_LIBS "${TENON_PC_LIBS}")
string(REGEX REPLACE " +" " " TENON_PC_REQUIRES "${TENON_PC_REQUIRES}")
string(STRIP "${TENON_PC_REQUIRES}" TENON_PC_REQUIRES)
configure_file(${CMAKE_CURRENT_LIST_DIR}/tenon.pc.in ${PROJECT_BINARY_DIR}/package/tenon.pc @ONLY)
install(
  FILES ${PROJECT_BINARY_DIR}/package/tenon.pc
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig
  COMPONENT tenon)
