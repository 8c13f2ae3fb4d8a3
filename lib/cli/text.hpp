// Text for a terminal: what people wrote is data there too, and never moves the cursor or turns the line around.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace tenon::cli {

/// `bytes` with control characters, marks of direction, invisible ones and bytes that are no UTF-8 spelled out: \n, \x1B,
/// \u202E.
[[nodiscard]] std::string visible(std::string_view bytes);

/// Cells of a terminal that a text without control characters takes up.
[[nodiscard]] std::size_t cells(std::string_view text);
/// At most `most` cells of it, with … for what was cut off.
[[nodiscard]] std::string clipped(std::string_view text, std::size_t most);

/// Milliseconds since 1970 as 2026-11-27 22:45:31 (UTC), or as 2026-11-27T22:45:31.123Z; empty for 0
/// and for what no clock says.
[[nodiscard]] std::string moment(std::int64_t ms);
[[nodiscard]] std::string iso_moment(std::int64_t ms);

/// 640 B, 1.5 KiB, 4.6 MiB
[[nodiscard]] std::string size_text(std::uint64_t bytes);

}  // namespace tenon::cli
