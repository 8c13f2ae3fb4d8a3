# tenon_warnings: the warnings of the project, as an interface target that is linked with
#   target_link_libraries(TARGET PRIVATE $<BUILD_INTERFACE:tenon_warnings>)
# so that it reaches no installed file and no project that uses Tenon.
option(TENON_WERROR "Treat warnings as errors" OFF)

add_library(tenon_warnings INTERFACE)
target_compile_options(
  tenon_warnings
  INTERFACE
    -Wall
    -Wextra
    -Wconversion
    -Wshadow
    # Attribute structs are written with designated initialisers: what is not named keeps its default.
    -Wno-missing-field-initializers
    # Functions that take vectors by value are internal to one instruction set; their calling convention crosses nothing.
    $<$<CXX_COMPILER_ID:GNU>:-Wno-psabi>
    # GCC 12 sees overlaps in std::string's own copies (its bug 105651).
    $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
    # Loops under omp simd may be left scalar; the benchmarks judge that, not the compiler's remarks.
    $<$<CXX_COMPILER_ID:Clang,AppleClang>:-Wno-pass-failed>
    $<$<BOOL:${TENON_WERROR}>:-Werror>)
