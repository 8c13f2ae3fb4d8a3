// rewrite_safetensors FROM TO: reads one weight file and writes another, for the test against another library.
#include <cstdio>

#include "tenon/error.hpp"
#include "tenon/io.hpp"

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  try {
    tenon::write_safetensors(argv[2], tenon::read_safetensors(argv[1]));
  } catch (const tenon::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return static_cast<int>(error.code());
  }
}
