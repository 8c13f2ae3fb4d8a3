# The CUDA backend's tests. The module is made a second time of the same sources, as C++, with the emulation in place of CUDA: it
# runs in every CI. Where there is a GPU: build/release/bin/cuda_test.
set(emulation_folder ${CMAKE_CURRENT_LIST_DIR}/cuda_emulation)
file(GLOB emulation CONFIGURE_DEPENDS ${emulation_folder}/*.cpp)
set(emulation_tests ${emulation})
list(FILTER emulation EXCLUDE REGEX "_test\\.cpp$")
list(FILTER emulation_tests INCLUDE REGEX "_test\\.cpp$")

# What is compiled with the emulated cuda_runtime.h.
function(tenon_emulated target)
  target_include_directories(${target} BEFORE PRIVATE ${emulation_folder}/include ${PROJECT_SOURCE_DIR}
                                                      ${PROJECT_SOURCE_DIR}/include)
  target_compile_definitions(${target} PRIVATE TENON_CUDA_EMULATION)
  target_compile_options(${target} PRIVATE -ffp-contract=off -Wno-unknown-pragmas $<$<CONFIG:Release>:-O2>)
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden)
endfunction()

add_library(tenon_emulation OBJECT ${emulation})
tenon_emulated(tenon_emulation)

add_library(tenon_cuda_emulated MODULE ${TENON_CUDA_KERNELS} ${TENON_CUDA_HOST} $<TARGET_OBJECTS:tenon_emulation>)
tenon_emulated(tenon_cuda_emulated)
set_source_files_properties(${TENON_CUDA_KERNELS} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-x;c++")
target_compile_definitions(tenon_cuda_emulated PRIVATE TENON_VERSION="${PROJECT_VERSION}" TENON_CUDA_TARGETS="90")
target_link_libraries(tenon_cuda_emulated PRIVATE Threads::Threads ${CMAKE_DL_LIBS})
target_link_options(tenon_cuda_emulated PRIVATE -Wl,--no-undefined)
set_target_properties(tenon_cuda_emulated PROPERTIES PREFIX "" OUTPUT_NAME tenon_cuda
                                                     LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib/emulated)

# The emulation itself: what it runs, and what it catches.
tenon_test(cuda_emulation_test ${emulation_tests} $<TARGET_OBJECTS:tenon_emulation> LABELS cuda)
tenon_emulated(cuda_emulation_test)

tenon_test(cuda_bands_test cuda_bands_test.cpp $<TARGET_OBJECTS:tenon_emulation> LABELS cuda)
tenon_emulated(cuda_bands_test)
tenon_test(cuda_tiles_test cuda_tiles_test.cpp cuda_exact_test.cpp $<TARGET_OBJECTS:tenon_emulation> LABELS cuda)
tenon_emulated(cuda_tiles_test)

tenon_test(cuda_product_tiles_test cuda_product_tiles_test.cpp $<TARGET_OBJECTS:tenon_emulation> LABELS cuda)
tenon_emulated(cuda_product_tiles_test)

# The module's side of the interface.
tenon_test(cuda_module_test cuda_module_test.cpp $<TARGET_OBJECTS:tenon_cuda_emulated> $<TARGET_OBJECTS:tenon_emulation>
           LABELS cuda)
tenon_emulated(cuda_module_test)
target_compile_definitions(cuda_module_test PRIVATE TENON_VERSION="${PROJECT_VERSION}")

tenon_test(cuda_test NO_ENTRY cuda_test.cpp cuda_fp16_test.cpp row_test.cpp ${cases})
add_dependencies(cuda_test tenon_cuda_emulated)
# Libraries of this machine would be opened and then find no GPU.
set(emulated TENON_MODULE_PATH=${PROJECT_BINARY_DIR}/lib/emulated TENON_CUDNN_LIBRARY=none TENON_CUBLAS_LIBRARY=none)
function(cuda_emulated_test name filter)
  add_test(NAME ${name} COMMAND cuda_test "${filter}")
  set_tests_properties(${name} PROPERTIES ENVIRONMENT "${emulated};${ARGN}" TIMEOUT 1500 LABELS cuda)
endfunction()
# Half the usual number of random cases: a block of 384 threads is 384 turns of a loop here.
cuda_emulated_test(cuda_rows_emulated "[rows][tenon]" TENON_TEST_CASES=125)
cuda_emulated_test(cuda_naive_emulated "[rows][naive]")
cuda_emulated_test(cuda_train_emulated "[train]")
cuda_emulated_test(cuda_programs_emulated "[cuda]~[rows]~[train]")
# A schedule shuffles blocks and threads, and what is recorded.
cuda_emulated_test(cuda_order_reverse "[order],[resident]" TENON_CUDA_SCHEDULE=reverse)
cuda_emulated_test(cuda_order_random "[order],[resident]" TENON_CUDA_SCHEDULE=random:11)

if(TENON_BUILD_BENCH AND Python3_FOUND)
  add_test(NAME bench_on_device COMMAND Python3::Interpreter ${PROJECT_SOURCE_DIR}/tests/bench_on_device_test.py
                                        ${CMAKE_RUNTIME_OUTPUT_DIRECTORY})
  set_tests_properties(bench_on_device PROPERTIES ENVIRONMENT "${emulated}" TIMEOUT 1500 LABELS cuda)
endif()

add_test(NAME gpu_script COMMAND ${PROJECT_SOURCE_DIR}/tests/gpu_script_test.sh)
set_tests_properties(gpu_script PROPERTIES LABELS cuda)

include(${CMAKE_CURRENT_LIST_DIR}/cuda_gates/CMakeLists.txt)
