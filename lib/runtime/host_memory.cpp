// Blocks of a huge page and more begin on one, and the system is asked for them: by default Linux gives them to those
// alone who ask (transparent_hugepage=madvise).
#include "lib/runtime/host_memory.hpp"

#include <cstdint>
#include <cstdlib>
#include <new>

#include "lib/runtime/memory.hpp"
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace tenon {
namespace {

constexpr std::size_t huge_page = std::size_t{1} << 21;

}  // namespace

void* allocate_host(std::size_t bytes) {
  const std::size_t alignment = bytes >= huge_page ? huge_page : static_cast<std::size_t>(buffer_alignment);
  if (bytes > SIZE_MAX - alignment) throw std::bad_alloc();
  const std::size_t size = (bytes + alignment - 1) / alignment * alignment;
  void* memory = std::aligned_alloc(alignment, size > 0 ? size : alignment);
  if (memory == nullptr) throw std::bad_alloc();
#if defined(__linux__)
  // A refusal costs speed alone.
  if (alignment == huge_page) (void)::madvise(memory, size, MADV_HUGEPAGE);
#endif
  return memory;
}

void release_host(void* memory) noexcept { std::free(memory); }

}  // namespace tenon
