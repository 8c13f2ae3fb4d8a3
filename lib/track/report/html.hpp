// Text on its way into a page. Whatever a name or value holds, it stays text there.
#pragma once
#include <string>
#include <string_view>

namespace tenon::track::html {

/// For text and for quoted attributes: markup escaped, control characters shown as pictures, marks that change the
/// direction of text shown by number, bytes that are no UTF-8 replaced. At most `most` code points, then an ellipsis.
[[nodiscard]] std::string escaped(std::string_view text, std::size_t most = 4096);
/// The same, set apart so that its direction stays its own.
[[nodiscard]] std::string isolated(std::string_view text, std::size_t most = 4096);
/// Bytes of a file as the base64 of a data: address.
[[nodiscard]] std::string base64(std::string_view bytes);
/// A relative address: everything but letters, digits, '-', '_', '.' and '/' in percent form.
[[nodiscard]] std::string address(std::string_view path);

}  // namespace tenon::track::html
