// Random problems of every operation. A case that aims at an edge draws extents within 1 of it until one fits; the
// others are log-uniform, so that small extents are common. Work is bounded: an extent that would make the case too
// large is drawn again. What each operation draws is in its record, op_facts.cpp.
#include <fmt/format.h>

#include <cstdlib>

#include "lib/train/row_check.hpp"
#include "tenon/error.hpp"
#include "tenon/rules.hpp"
#include "tests/op_facts.hpp"

namespace tenon::tests {
namespace {

/// An extent of an operand, or the length of a sum, lies within 1 of an edge.
bool near_edge(const Case& c, const OpFacts& facts, const Edges& edges) {
  std::vector<std::int64_t> sizes;
  for (const TensorSpec& s : c.in) {
    if (facts.sees_axes())
      sizes.insert(sizes.end(), s.shape.extents().begin(), s.shape.extents().end());
    else
      sizes.push_back(s.shape.elements());
  }
  sizes.push_back(static_cast<std::int64_t>(reduction_length(c.op, c.in, infer_node(c.op, c.in))));
  for (const std::int64_t size : sizes)
    for (const std::int32_t edge : edges.sizes)
      if (edge > 1 && std::abs(size - edge) <= 1) return true;
  return false;
}

bool small_enough(const Case& c, double most_flops) {
  const SpecList out = infer_node(c.op, c.in);
  double bytes = 0;
  for (const TensorSpec& s : c.in) bytes += static_cast<double>(s.bytes());
  for (const TensorSpec& s : out) bytes += static_cast<double>(s.bytes());
  return cost_node(c.op, c.in, out).flops <= most_flops && bytes <= 2e6;
}

}  // namespace

Case random_case(op::Kind kind, std::mt19937_64& rng, const Edges& edges) {
  const OpFacts& facts = facts_of(kind);
  const bool heavy = std::uniform_int_distribution<int>(0, 19)(rng) == 0;
  std::uniform_real_distribution<double> share;
  const Wish wish{share(rng) < 0.18, facts.takes_integers() && share(rng) < 0.35};
  // What is too large is drawn again, with the same wish; a case that aims at an edge and finds none as well, for a while.
  for (int attempt = 0;; ++attempt) {
    Draw d(rng, edges);
    Case c = facts.draw(d, wish, kind);
    if (op::kind(c.op) != kind)
      throw UsageError(fmt::format("[cases] expected a case of {}, found {}", op::name_of(kind), c.name));
    if (!small_enough(c, heavy ? 20e6 : 2e6)) continue;
    c.near_edge = near_edge(c, facts, edges);
    if (d.aims() && !c.near_edge && attempt < 20) continue;
    c.integers = wish.integers;
    c.chunks = facts.chunks(c);
    return c;
  }
}

}  // namespace tenon::tests
