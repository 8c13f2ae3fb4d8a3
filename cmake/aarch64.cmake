# Toolchain file: compiles for AArch64 Linux with Debian's cross compiler and runs what it built with qemu-user, as in
#   cmake -S . -B build/aarch64 --toolchain cmake/aarch64.cmake
# TENON_AARCH64_ROOT names a folder with the libraries of an AArch64 system (usr/lib/aarch64-linux-gnu, usr/include);
# tests/cross_aarch64.sh makes one. The micro files need none.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
# The compiler's own C library is where the emulator finds the loader.
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64;-L;/usr/aarch64-linux-gnu)

set(TENON_AARCH64_ROOT "" CACHE PATH "Folder with AArch64 libraries")
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES TENON_AARCH64_ROOT)
if(TENON_AARCH64_ROOT)
  set(CMAKE_FIND_ROOT_PATH ${TENON_AARCH64_ROOT})
  set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
  set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
  set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
  set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
endif()
