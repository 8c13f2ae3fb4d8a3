// What a plan did and how near it came to the device's limits: a step needs at least max(flops / peak FLOP/s, bytes /
// copy rate), its floor; its roofline is that over the time that it took.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "lib/runtime/plan.hpp"
#include "tenon/log.hpp"

namespace tenon {
namespace {

std::string bytes_text(std::int64_t bytes) {
  if (bytes >= 1 << 20) return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
  if (bytes >= 1 << 10) return fmt::format("{:.1f} KiB", static_cast<double>(bytes) / (1 << 10));
  return fmt::format("{} B", bytes);
}

std::string unless_zero(double value, int digits) { return value > 0 ? fmt::format("{:.{}f}", value, digits) : "-"; }

/// What join_strips() and join_updates() put behind an operation's name.
bool in_strips(const PlanStep& s) {
  const std::size_t plus = s.op.rfind(" +");
  return plus != std::string::npos && std::isdigit(static_cast<unsigned char>(s.op[plus + 2])) != 0;
}
bool with_update(const PlanStep& s) { return s.op.ends_with(" +update"); }

double roofline(const PlanStep& s, const Peak& peak) {
  return s.runs > 0 ? s.floor_microseconds(peak) / s.microseconds() : 0;
}

}  // namespace

double PlanStep::floor_microseconds(const Peak& peak) const {
  if (peak.flops <= 0 || peak.bandwidth <= 0) return 0;
  const double flops = row->precision == Precision::bf16 && peak.tile_flops > 0 ? peak.tile_flops : peak.flops;
  return 1e6 * std::max(cost.flops / flops, cost.bytes / peak.bandwidth);
}

std::vector<PlanEntry> Plan::entries() const {
  std::vector<PlanEntry> list;
  for (const PlanStep& s : steps)
    list.push_back({.op = s.op,
                    .provider = std::string(s.row->provider),
                    .shape = s.result.str(),
                    .offset = s.out.empty() ? -1 : s.out[0].offset,
                    .bytes = s.result_bytes,
                    .microseconds = s.microseconds(),
                    .flops = s.cost.flops,
                    .traffic = s.cost.bytes,
                    .canonical = s.row->canonical,
                    .naive = s.row->naive,
                    .precision = name_of(s.row->precision),
                    .roofline = roofline(s, peak)});
  return list;
}

std::string Plan::table() const {
  constexpr auto line = "{:>3} {:<25} {:<15} {:<20} {:>18} {:>10} {:>8} {:>7} {:>6}\n";
  std::string text =
      fmt::format(fmt::runtime(line), "#", "op", "kernel", "shape", "offset", "bytes", "us", "GFLOP/s", "% roof");
  double total = 0, floors = 0;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const PlanStep& s = steps[i];
    const double us = s.microseconds();
    total += us;
    if (us > 0) floors += s.floor_microseconds(peak);
    const std::string place = s.out.empty() ? "-" : fmt::format("{}+{}", name_of(s.out[0].space), s.out[0].offset);
    text += fmt::format(fmt::runtime(line), i, s.op, row_name(*s.row), s.result.str(), place,
                        bytes_text(s.result_bytes), unless_zero(us, 1),
                        unless_zero(us > 0 ? s.cost.flops / us * 1e-3 : 0, 1), unless_zero(100 * roofline(s, peak), 0));
  }
  text += fmt::format("{} steps, arena {}{}\n", steps.size(), bytes_text(arena_bytes),
                      total > 0 ? fmt::format(", {:.0f} us", total) : "");
  if (std::ranges::any_of(steps, in_strips))
    text += "+N: with the N steps before it, in strips of a few samples that stay in the caches\n";
  if (std::ranges::any_of(steps, with_update))
    text += "+update: rows of the gradient are taken off the parameter as soon as they are whole\n";
  if (floors > 0)
    text += fmt::format(
        "% roof: the least time at {:.1f} GFLOP/s (FMAs in registers) and {:.1f} GB/s (a copy), as measured here, of "
        "the\n"
        "time taken; above 100 where masks spare dead terms, products are transformed or operands stay in the caches\n"
        "least times together {:.0f} us, steps together {:.0f} us: {:.1f} % of the roofline\n",
        peak.flops * 1e-9, peak.bandwidth * 1e-9, floors, total, 100 * floors / total);
  return text;
}

Peak peak_to_judge_by(const Backend& device, int threads) {
  return detail::verbose("time") ? device.peak(threads) : Peak{};
}

void log_times(const char* mode, std::int64_t batch, const Plan& plan) {
  if (detail::verbose("time"))
    detail::log(LogLevel::info, fmt::format("time: {} at batch {}\n{}", mode, batch, plan.table()));
}

}  // namespace tenon
