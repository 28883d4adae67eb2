#include "halfback/schedule/families.h"

#include "halfback/base/error.h"
#include "halfback/base/text.h"
#include "halfback/schedule/passes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <utility>

namespace halfback {

namespace {

constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kSchemes = {{
    {"backprop", "1f1b"},
    {"greedy", "local-greedy"},
    {"chunked", "local-chunked"},
    {"overlapping", "local-overlapping"},
    {"interlocking", "local-interlocking"},
    {"last", "local-last"},
}};

const Family* find_family(std::string_view name) {
  for (const auto& [scheme, family] : kSchemes) {
    if (scheme == name) {
      name = family;
    }
  }
  const auto& all = families();
  const auto found = std::ranges::find(all, name, &Family::name);
  return found == all.end() ? nullptr : &*found;
}

}  // namespace

int Family::default_micro_batches(int num_ranks) const {
  const std::int64_t count = std::int64_t{micro_batches_per_rank} * num_ranks;
  return static_cast<int>(std::clamp<std::int64_t>(count, 1, kMaxIndex));
}

bool Family::has(const FamilyParameter& row) const {
  return row.is_of_all || std::ranges::find(takes, row.member, &Taken::member) != takes.end();
}

std::optional<double> Family::natural(const FamilyParameter& row,
                                      const PipelineShape& shape) const {
  if (!has(row)) {
    return std::nullopt;
  }
  const auto own = std::ranges::find(takes, row.member, &Taken::member);
  return own != takes.end() && own->natural != 0.0 ? std::min(own->natural, row.most(shape))
                                                   : row.natural(shape);
}

void Family::require_admitted(const FamilyParameter& row,
                              double value,
                              const PipelineShape& shape) const {
  if (!has(row)) {
    throw ConfigError(fmt::format("{}: it takes no {}; leave the option out", name, row.option));
  }
  const double most = row.most(shape);
  if (!(value >= row.least && value <= most)) {
    throw ConfigError(fmt::format("{}: {} {} on {} ranks; it is {}", name, row.option, value,
                                  shape.num_ranks, fmt::format(fmt::runtime(row.range), most)));
  }
}

PipelineShape Family::complete(PipelineShape shape) const {
  for (const FamilyParameter& row : family_parameters()) {
    if (const auto value = row.find(shape)) {
      require_admitted(row, *value, shape);
    } else if (const auto its_own = natural(row, shape)) {
      row.set(shape, *its_own);
    }
  }
  return shape;
}

Schedule Family::build(const PipelineShape& shape) const {
  const PipelineShape whole = complete(shape);
  Schedule schedule = builder(whole);
  return *whole.stage_updates ? add_updates(schedule) : schedule;
}

std::vector<std::string> family_names() {
  std::vector<std::string> names;
  for (const Family& family : families()) {
    names.push_back(family.name);
  }
  return names;
}

std::vector<std::string> scheme_names() {
  std::vector<std::string> names;
  names.reserve(kSchemes.size());
  for (const auto& [scheme, family] : kSchemes) {
    names.emplace_back(scheme);
  }
  return names;
}

const Family& family(std::string_view name) {
  if (const Family* const found = find_family(name)) {
    return *found;
  }
  std::vector<std::string> names = family_names();
  const std::string known = fmt::format("{}", fmt::join(names, ", "));
  std::ranges::move(scheme_names(), std::back_inserter(names));
  throw ConfigError(fmt::format("schedule: unknown family '{}'{}; known are {}", name.substr(0, 80),
                                suggestion(name.substr(0, 80), names), known));
}

bool is_family(std::string_view name) { return find_family(name) != nullptr; }

Schedule build_schedule(std::string_view name, const PipelineShape& shape) {
  return family(name).build(shape);
}

}  // namespace halfback
