// Text and numbers of a run's files: any bytes as a JSON string and back, doubles as the shortest text with the same bits.
#pragma once
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "tenon/track.hpp"

namespace tenon::track {

using Json = nlohmann::ordered_json;  // members in the order of the file

/// `bytes` as UTF-8: a byte that is none becomes the code point U+10FF00 + byte, from the private planes. Those code
/// points themselves are taken byte by byte too, so that from_utf8 gives back exactly what came in.
[[nodiscard]] std::string to_utf8(std::string_view bytes);
[[nodiscard]] std::string from_utf8(std::string_view text);

/// Appends `bytes` as a JSON string with its quotes.
void add_string(std::string& to, std::string_view bytes);
/// Appends the shortest text that gives the same bits back; NaN and infinities as the strings "NaN", "Infinity",
/// "-Infinity". (The sign and payload of a NaN are not kept.)
void add_number(std::string& to, double value);
void add_number(std::string& to, std::int64_t value);
/// Appends {"name":"value",...}.
void add_object(std::string& to, const Pairs& pairs);

/// What add_string wrote; empty where `value` is no string.
[[nodiscard]] std::string string_of(const Json& value);
/// The member as string_of; empty without it.
[[nodiscard]] std::string string_of(const Json& object, const char* member);
/// What add_number wrote. False where `value` is neither a number nor one of the three strings.
[[nodiscard]] bool number_of(const Json& value, double& number);
/// An integer member, `missing` without it.
[[nodiscard]] std::int64_t integer_of(const Json& object, const char* member, std::int64_t missing = 0);
/// Pairs of an object whose members are strings; others are left out. They keep the order of the file.
[[nodiscard]] Pairs pairs_of(const Json& object, const char* member);

/// Sets `name`, in the place where it is already or at the end.
void put(Pairs& pairs, const std::string& name, const std::string& value);

/// Milliseconds since 1970, UTC.
[[nodiscard]] std::int64_t now_ms() noexcept;
/// 2 * `bytes` random hex digits.
[[nodiscard]] std::string random_hex(int bytes);

}  // namespace tenon::track
