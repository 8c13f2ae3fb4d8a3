// The host's memory for slabs, arenas and arrays.
#pragma once
#include <cstddef>

namespace tenon {

/// 256-byte aligned, its content anything. What is large lies on huge pages where the system has them: a step walks tens
/// of MiB, more than the processor's table of small pages reaches. Throws std::bad_alloc.
[[nodiscard]] void* allocate_host(std::size_t bytes);
void release_host(void* memory) noexcept;

}  // namespace tenon
