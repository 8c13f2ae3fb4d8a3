// tenon runs diff
#include "lib/cli/diff.hpp"

#include <algorithm>

#include "lib/cli/text.hpp"

namespace tenon::cli {
namespace {

using Named = std::vector<std::pair<std::string, Cell>>;

Named cells_of(const track::Pairs& pairs) { return {pairs.begin(), pairs.end()}; }
Named cells_of(const std::vector<track::Metric>& metrics) {
  Named cells;
  for (const track::Metric& m : metrics) cells.emplace_back(m.name, number_cell(m.last()));
  return cells;
}

const Cell* find(const Named& cells, const std::string& name) {
  const auto found = std::ranges::find(cells, name, &Named::value_type::first);
  return found == cells.end() ? nullptr : &found->second;
}

void compare(const char* what, const Named& a, const Named& b, bool all, std::vector<Difference>& list) {
  for (const auto& [name, value] : a) {
    const Cell* other = find(b, name);
    const bool same = other != nullptr && other->exact == value.exact;
    if (all || !same)
      list.push_back({what, name, value, other == nullptr ? std::nullopt : std::optional(*other), same});
  }
  for (const auto& [name, value] : b)
    if (find(a, name) == nullptr) list.push_back({what, name, std::nullopt, value, false});
}

Json json_of(const std::optional<Cell>& cell) {
  if (!cell) return {};
  double number = 0;
  if (!cell->number) return json_text(cell->exact);
  const Json value = Json::parse(cell->exact, nullptr, false);
  return track::number_of(value, number) ? json_number(number) : Json(cell->exact);
}

}  // namespace

std::vector<Difference> differences(const track::RunView& a, const track::RunView& b, bool all) {
  std::vector<Difference> list;
  compare("param", cells_of(a.params), cells_of(b.params), all, list);
  compare("tag", cells_of(a.tags), cells_of(b.tags), all, list);
  compare("environment", cells_of(a.environment), cells_of(b.environment), all, list);
  compare("metric", cells_of(a.metrics), cells_of(b.metrics), all, list);
  return list;
}

Table table_of(const track::RunView& a, const track::RunView& b, const std::vector<Difference>& list) {
  Table table{{"what", "name", visible(a.id), visible(b.id)}, {}};
  for (const Difference& d : list)
    table.rows.push_back({d.what, d.name, d.a.value_or(Cell("")), d.b.value_or(Cell(""))});
  return table;
}

Json json_of(const track::RunView& a, const track::RunView& b, const std::vector<Difference>& list) {
  Json rows = Json::array();
  for (const Difference& d : list)
    rows.push_back(Json::object(
        {{"what", d.what}, {"name", json_text(d.name)}, {"a", json_of(d.a)}, {"b", json_of(d.b)}, {"same", d.same}}));
  return Json::object({{"a", json_text(a.id)}, {"b", json_text(b.id)}, {"differences", std::move(rows)}});
}

}  // namespace tenon::cli
