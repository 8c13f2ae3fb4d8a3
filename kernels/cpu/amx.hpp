// Whether this process may use the tiles of AMX.
#pragma once

namespace tenon::cpu {

/// True where the processor has AMX with bf16, and AVX-512 with its conversions to bf16; the system saves the tiles'
/// state; and it grants this process the room for that, for which it has to be asked. Asks once a process.
[[nodiscard]] bool amx_available();

}  // namespace tenon::cpu
