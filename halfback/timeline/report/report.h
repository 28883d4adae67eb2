// One schedule on one page: how it would run and how it ran, one above the other on one axis, with
// the memory of each rank; above them are curves over the run's steps, if any. The page is a single
// file and needs no network.
#pragma once

#include "halfback/timeline/report/curve.h"
#include "halfback/timeline/timeline.h"

#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace halfback {

// The memory that a rank holds from a time on.
struct MemoryPoint {
  double seconds = 0.0;
  double held = 0.0;

  bool operator==(const MemoryPoint&) const = default;
};

// One run of the schedule.
struct ReportTrack {
  std::string name;  // "predicted", "measured"
  Timeline timeline;
  std::vector<std::size_t> critical = {};             // spans that determine the makespan
  std::vector<std::vector<MemoryPoint>> memory = {};  // by rank, in ascending time; or empty
};

struct Report {
  std::string title;
  std::string subtitle;
  std::string time_unit = "";    // of all tracks: "s", or "" for units
  std::string memory_unit = "";  // "bytes" or "M_B"
  std::vector<ReportTrack> tracks;
  std::vector<Chart> charts = {};  // over all steps of the run; a track shows one step
};

// Returns the data of the page: for each track its spans as [rank, action, stage, micro-batch,
// letters, start, end], which of them are critical, memory as [time, held] by rank, and its
// makespan, stage step, bubble fractions and reductions. Times count from the first start of the
// track. Charts are included if the report has any.
nlohmann::json to_json(const Report& report);

// Returns the page. Its script element with the id "data" holds to_json().
std::string to_html(const Report& report);

// Returns the memory of each rank after each of its spans, from the memory by rank and action.
// Updates after the lists do not change it.
std::vector<std::vector<MemoryPoint>> memory_curves(
    const Timeline& timeline, const std::vector<std::vector<std::int64_t>>& held);

// Returns the activations that each rank holds: each of S stages counts `share` = N/S from the
// start of its F to the end of its W or B, if it has one, as activation_peaks() counts them.
std::vector<std::vector<MemoryPoint>> activation_curves(const Timeline& timeline, double share);

}  // namespace halfback
