// Tables for TensorBoard's page of texts, which shows Markdown.
#pragma once
#include <span>
#include <string>
#include <string_view>

#include "tenon/track.hpp"

namespace tenon::track::tensorboard {

/// `bytes` as text that Markdown leaves as it is, in a cell of a table too. Behind `most` bytes it ends, with a whole
/// character and an ellipsis.
[[nodiscard]] std::string plain(std::string_view bytes, std::size_t most = 4096);
/// Two columns under a header.
[[nodiscard]] std::string table_of(std::string_view first, std::string_view second, const Pairs& rows);
/// Rows are what is true, columns what was predicted. Of more than 100 labels only how many there are.
[[nodiscard]] std::string table_of(const ConfusionEntry& confusion);

}  // namespace tenon::track::tensorboard
