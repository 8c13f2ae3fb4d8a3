// Named columns of samples. Checks once, here, what the loader then takes for granted.
#include <fmt/format.h>

#include <cmath>

#include "tenon/data.hpp"
#include "tenon/error.hpp"

namespace tenon {

Shape Column::sample_shape() const { return Shape(data.shape().extents().subspan(1)); }

TensorSpec Column::batch_spec(std::int64_t rows) const {
  const bool integer = data.dtype() == DType::u8 || data.dtype() == DType::i32;
  return {integer && divisor == 1.f ? DType::i32 : DType::f32, data.shape().with(0, rows)};
}

namespace {

std::string label(const char* kind, std::size_t index, const std::string& name) {
  return name.empty() ? fmt::format("{} {}", kind, index) : fmt::format("{} '{}'", kind, name);
}

void check_columns(const std::vector<NamedColumn>& columns, const char* kind, std::optional<std::int64_t>& rows,
                   std::string& first) {
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const auto& [name, column] = columns[i];
    const std::string what = label(kind, i, name);
    if (column.data.empty() || column.data.shape().rank() == 0)
      throw DataError(fmt::format("[dataset] {} needs a first axis of samples, found {}", what,
                                  column.data.empty() ? "no data" : column.data.spec().str()));
    if (!std::isfinite(column.divisor) || column.divisor == 0.f)
      throw UsageError(fmt::format("[dataset] {} needs a finite divisor other than 0, found {}", what, column.divisor));
    for (std::size_t j = 0; j < i; ++j)
      if (columns[j].first == name) throw UsageError(fmt::format("[dataset] names must differ, found {} twice", what));
    const std::int64_t count = column.data.shape()[0];
    if (!rows) rows = count, first = what;
    if (count != *rows)
      throw DataError(fmt::format("[dataset] expected {} samples in {} as in {}, found {}", *rows, what, first, count));
  }
}

std::vector<NamedColumn> rows_of(const std::vector<NamedColumn>& columns, std::int64_t begin, std::int64_t end) {
  std::vector<NamedColumn> out;
  for (const auto& [name, column] : columns)
    out.emplace_back(name, Column{column.data.rows(begin, end), column.divisor});
  return out;
}

}  // namespace

Dataset::Dataset(std::vector<NamedColumn> inputs, std::vector<NamedColumn> targets)
    : inputs_(std::move(inputs)), targets_(std::move(targets)) {
  std::optional<std::int64_t> rows;
  std::string first;
  if (inputs_.empty()) throw DataError("[dataset] expected at least one input column, found none");
  check_columns(inputs_, "input", rows, first);
  check_columns(targets_, "target", rows, first);
  size_ = *rows;
}

Dataset::Dataset(Array x, Array y)
    : Dataset(std::vector<NamedColumn>{{"", Column{std::move(x)}}},
              std::vector<NamedColumn>{{"", Column{std::move(y)}}}) {}

Dataset Dataset::slice(std::int64_t begin, std::int64_t end) const {
  if (begin < 0 || end < begin || end > size_)
    throw UsageError(fmt::format("[dataset] slice needs 0 <= begin <= end <= {}, found [{}, {})", size_, begin, end));
  return {rows_of(inputs_, begin, end), rows_of(targets_, begin, end)};
}

}  // namespace tenon
