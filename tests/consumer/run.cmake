# Uses Tenon as a stranger would: installs the built library, moves the installed tree (so nothing may name the place of
# installation), and builds and runs examples/link_me against it; and a program that links run tracking alone, where OpenMP
# and Eigen cannot be found.
#   cmake -DSOURCE_DIR=<checkout> -DBUILD_DIR=<build tree> -DWORK_DIR=<scratch folder> -DCXX=<compiler>
#         [-DMODE=find_package|pkg_config|add_subdirectory] [-DFLAGS=<compile and link flags>] -P run.cmake
# Without MODE, all three. add_subdirectory compiles the library again: from the compiler cache, where there is one, or
# without optimisation to save time.
cmake_minimum_required(VERSION 3.25)
foreach(variable SOURCE_DIR BUILD_DIR WORK_DIR CXX)
  if(NOT ${variable})
    message(FATAL_ERROR "[consumer] expected -D${variable}=...")
  endif()
endforeach()
if(NOT MODE)
  set(MODE find_package pkg_config add_subdirectory)
endif()
set(example ${SOURCE_DIR}/examples/link_me)
set(tracker ${SOURCE_DIR}/tests/consumer/track)
set(prefix ${WORK_DIR}/moved)

# Runs a command; its failure is the test's.
function(run)
  list(JOIN ARGN " " text)
  message(STATUS "${text}")
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "[consumer] expected status 0, found ${result}: ${text}")
  endif()
endfunction()

function(install_and_move)
  file(REMOVE_RECURSE ${WORK_DIR}/first ${prefix})
  run(${CMAKE_COMMAND} --install ${BUILD_DIR} --prefix ${WORK_DIR}/first --component tenon)
  file(RENAME ${WORK_DIR}/first ${prefix})
  file(GLOB_RECURSE texts ${prefix}/*.cmake ${prefix}/*.pc)
  foreach(text IN LISTS texts)
    file(READ ${text} content)
    foreach(place ${SOURCE_DIR} ${BUILD_DIR} ${WORK_DIR})
      string(FIND "${content}" "${place}" at)
      if(NOT at EQUAL -1)
        message(FATAL_ERROR "[consumer] expected an installed tree that can be moved, found ${place} in ${text}")
      endif()
    endforeach()
  endforeach()
endfunction()

# Configures, builds and runs a program in a build folder of its own, with further arguments for cmake.
function(build_with_cmake name source program)
  set(build ${WORK_DIR}/${name})
  file(REMOVE_RECURSE ${build})
  run(${CMAKE_COMMAND} -G Ninja -S ${source} -B ${build} -DCMAKE_CXX_COMPILER=${CXX} "-DCMAKE_CXX_FLAGS=${FLAGS}" ${ARGN})
  run(${CMAKE_COMMAND} --build ${build})
  run(${build}/${program} ${build}/runs)
endfunction()

# pc_flags(MODULE): what pkg-config says of it, in `flags`.
function(pc_flags module)
  find_program(pkg_config NAMES pkg-config pkgconf REQUIRED)
  file(GLOB_RECURSE pc ${prefix}/${module}.pc)
  get_filename_component(folder "${pc}" DIRECTORY)
  set(ENV{PKG_CONFIG_PATH} ${folder}:$ENV{PKG_CONFIG_PATH})
  execute_process(
    COMMAND ${pkg_config} --cflags --libs ${module}
    OUTPUT_VARIABLE said
    OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  separate_arguments(said UNIX_COMMAND "${said}")
  set(flags ${said} PARENT_SCOPE)
endfunction()

function(build_with_pkg_config module source)
  pc_flags(${module})
  separate_arguments(further UNIX_COMMAND "${FLAGS}")
  set(program ${WORK_DIR}/${module}_pkg_config)
  run(${CXX} -std=c++20 ${further} ${source}/main.cpp -o ${program} ${flags})
  run(${program} ${WORK_DIR}/runs)
endfunction()

foreach(mode IN LISTS MODE)
  message(STATUS "== ${mode}")
  if(mode STREQUAL "find_package")
    install_and_move()
    build_with_cmake(find_package ${example} link_me -DCMAKE_PREFIX_PATH=${prefix} -DCMAKE_BUILD_TYPE=Release)
    build_with_cmake(find_package_track ${tracker} track_me -DCMAKE_PREFIX_PATH=${prefix} -DCMAKE_BUILD_TYPE=Release
                     -DCMAKE_DISABLE_FIND_PACKAGE_OpenMP=TRUE -DCMAKE_DISABLE_FIND_PACKAGE_Eigen3=TRUE)
  elseif(mode STREQUAL "pkg_config")
    install_and_move()
    build_with_pkg_config(tenon ${example})
    build_with_pkg_config(tenon-track ${tracker})
    pc_flags(tenon-track)
    if(flags MATCHES "openmp|eigen|-ltenon[; ]")
      message(FATAL_ERROR "[consumer] expected flags of run tracking alone, found ${flags}")
    endif()
  elseif(mode STREQUAL "add_subdirectory")
    find_program(ccache ccache)
    if(ccache)  # the build tree's own objects, where their flags are the same
      set(how -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER_LAUNCHER=${ccache})
    else()
      set(how -DCMAKE_BUILD_TYPE=Debug)
    endif()
    build_with_cmake(add_subdirectory ${example} link_me -DTENON_SOURCE=${SOURCE_DIR} ${how})
  else()
    message(FATAL_ERROR "[consumer] unknown MODE: ${mode}")
  endif()
endforeach()
