# The CUDA module, tenon_cuda.so: opened at run time, so that nothing else links CUDA (kernels/cuda/module.hpp).
#   TENON_CUDA                 AUTO (where there is a compiler), ON (an error where there is none), OFF (the default inside
#                              another project, whose build should not grow by minutes unasked)
#   TENON_CUDA_ARCHITECTURES   as CMake's CUDA_ARCHITECTURES. One by default, because each costs a minute; a release has
#                              "80-real;86-real;89-real;90-real;100"
if(PROJECT_IS_TOP_LEVEL)
  set(cuda_default AUTO)
else()
  set(cuda_default OFF)
endif()
set(TENON_CUDA ${cuda_default} CACHE STRING "Build the CUDA module: AUTO, ON or OFF")
set(TENON_CUDA_ARCHITECTURES 90 CACHE STRING "Compute capabilities that the CUDA module is built for")
set(TENON_CUDA_STATUS "off")

# Every file of the module; its emulation for the tests is made of the same list.
set(TENON_CUDA_KERNELS
    bias.cu
    conv2d.cu
    conv2d_mma.cu
    conv2d_few.cu
    conv2d_few_chains.cu
    conv2d_few_sums.cu
    conv2d_grad_filter.cu
    conv2d_grad_filter_mma.cu
    conv2d_grad_input.cu
    conv2d_grad_input_mma.cu
    dropout.cu
    elementwise_loss.cu
    gather.cu
    pointwise.cu
    pointwise_chain.cu
    pool2d.cu
    product.cu
    product_mma.cu
    reduce.cu
    rows.cu
    shape.cu
    step_block.cu
    update.cu)
set(TENON_CUDA_HOST contractions.cpp cublas_product.cpp cudnn_convolution.cpp cudnn_layers.cpp libraries.cpp
                    libraries_abi_check.cpp library_rows.cpp loops.cpp module.cpp pieces.cpp)
list(TRANSFORM TENON_CUDA_KERNELS PREPEND ${PROJECT_SOURCE_DIR}/kernels/cuda/)
list(TRANSFORM TENON_CUDA_HOST PREPEND ${PROJECT_SOURCE_DIR}/kernels/cuda/)

if(TENON_CUDA STREQUAL "OFF" OR CMAKE_CROSSCOMPILING)
  return()
endif()
include(CheckLanguage)
if(NOT CMAKE_CUDA_COMPILER)
  find_program(TENON_NVCC nvcc HINTS /usr/local/cuda/bin)
  if(TENON_NVCC)
    set(CMAKE_CUDA_COMPILER ${TENON_NVCC})
  endif()
endif()
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  if(TENON_CUDA STREQUAL "ON")
    message(FATAL_ERROR "[TENON_CUDA] expected a CUDA compiler, found none; set CMAKE_CUDA_COMPILER")
  endif()
  set(TENON_CUDA_STATUS "missing: no CUDA compiler was found")
  return()
endif()
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES ${TENON_CUDA_ARCHITECTURES})
endif()
enable_language(CUDA)
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know that nvcc 13 speaks C++20
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
endif()
find_package(CUDAToolkit REQUIRED)
if(CUDAToolkit_VERSION VERSION_LESS 12.3)  # the first whose captures know the edges of a graph (kernels/cuda/pieces.cpp)
  message(FATAL_ERROR "[TENON_CUDA] expected a toolkit of version 12.3 or newer, found ${CUDAToolkit_VERSION}")
endif()

# "90-real 100" is what it was built for: the last one without a suffix carries its PTX, for newer devices.
set(targets "")
foreach(architecture IN LISTS TENON_CUDA_ARCHITECTURES)
  if(architecture MATCHES "^([0-9]+a?)-real$")
    string(APPEND targets "${CMAKE_MATCH_1} ")
  else()
    string(REGEX REPLACE "-virtual$" "" architecture "${architecture}")
    string(APPEND targets "${architecture}+PTX ")
  endif()
endforeach()
string(STRIP "${targets}" targets)

add_library(tenon_cuda MODULE ${TENON_CUDA_KERNELS} ${TENON_CUDA_HOST})
target_include_directories(tenon_cuda PRIVATE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
target_compile_definitions(tenon_cuda PRIVATE TENON_VERSION="${PROJECT_VERSION}" TENON_CUDA_TARGETS="${targets}")
target_compile_options(
  tenon_cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:--fmad=false --expt-relaxed-constexpr -Xptxas=-v -Xcompiler=-ffp-contract=off>
                     $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>)
set_target_properties(
  tenon_cuda
  PROPERTIES PREFIX ""
             LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib/tenon
             CUDA_ARCHITECTURES "${TENON_CUDA_ARCHITECTURES}"
             CUDA_RUNTIME_LIBRARY Static
             # What ptxas says of every kernel goes beside its object, where a test compares it with the budget.
             CUDA_COMPILER_LAUNCHER "${PROJECT_SOURCE_DIR}/tests/cuda_gates/log_ptxas.sh"
             BUILD_RPATH "${CUDAToolkit_LIBRARY_DIR}"  # where cuDNN and cuBLAS are looked for
             CXX_VISIBILITY_PRESET hidden
             CUDA_VISIBILITY_PRESET hidden)
target_link_libraries(tenon_cuda PRIVATE CUDA::cudart_static ${CMAKE_DL_LIBS})
target_link_options(tenon_cuda PRIVATE -Wl,--no-undefined -Wl,--exclude-libs,ALL)
set(TENON_CUDA_STATUS "${CMAKE_CUDA_COMPILER_VERSION}, for ${targets}")
