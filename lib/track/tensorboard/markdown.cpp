// Somebody's text is written with character references wherever a character might mean something.
#include "lib/track/tensorboard/markdown.hpp"

#include <fmt/format.h>

#include "lib/track/text.hpp"

namespace tenon::track::tensorboard {
namespace {

constexpr std::size_t most_labels = 100;
constexpr std::string_view meaningful = "&<>\\`*_[]()!|~\"'";

std::string row(std::string_view a, std::string_view b) { return fmt::format("| {} | {} |\n", a, b); }

}  // namespace

std::string plain(std::string_view bytes, std::size_t most) {
  std::string out;
  const std::string text = to_utf8(bytes);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (i >= most && (c & 0xC0) != 0x80) return out + "…";  // not within a character
    if (c < 0x20 || c == 0x7F)
      out += ' ';
    else if (meaningful.find(text[i]) != std::string_view::npos)
      out += fmt::format("&#{};", c);
    else
      out += text[i];
  }
  return out;
}

std::string table_of(std::string_view first, std::string_view second, const Pairs& rows) {
  std::string out = row(first, second) + row("---", "---");
  for (const auto& [a, b] : rows) out += row(plain(a), plain(b));
  return out;
}

std::string table_of(const ConfusionEntry& confusion) {
  const std::size_t n = confusion.labels.size();
  if (confusion.counts.size() != n * n)
    return fmt::format("{} labels with {} counts make no table.", n, confusion.counts.size());
  if (n > most_labels) return fmt::format("{} labels are too many for a table here.", n);
  std::string out = "| true \\\\ predicted |", rule = "|---|", rest;
  for (std::size_t i = 0; i < n; ++i) {
    const std::string label = plain(confusion.labels[i], 64);
    out += fmt::format(" {} |", label);
    rule += "---:|";
    rest += fmt::format("| {} |", label);
    for (std::size_t j = 0; j < n; ++j) rest += fmt::format(" {} |", confusion.counts[i * n + j]);
    rest += '\n';
  }
  return out + "\n" + rule + "\n" + rest;
}

}  // namespace tenon::track::tensorboard
