#include "cli/study_plan.h"

#include "cli/status_line.h"
#include "cli/study_runs.h"
#include "halfback/study/study_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <iostream>

namespace halfback::cli {

namespace {

// What is left to do.
struct Work {
  Duration time;
  double flops = 0.0;
  std::size_t num_lines = 0;
};

std::vector<Setting> line_of(const StudyRun& run) {
  std::vector<Setting> line(run.place.begin(),
                            std::ranges::find(run.place, kTrialAxis, &Setting::option));
  std::erase_if(line, [](const Setting& label) { return label.option == kSeedAxis; });
  return line;
}

Work measure(const StudyPlan& plan) {
  StatusLine status;
  Work work;
  std::map<std::vector<Setting>, RunEstimate> lines;
  for (const StudyRun& run : plan.runs) {
    if (plan.done.contains(run.number)) {
      continue;
    }
    const auto [line, is_new] = lines.try_emplace(line_of(run));
    if (is_new) {
      status.show(fmt::format("measuring line {}: {}", lines.size(), name_of(run)));
      line->second = estimate_run(config_of(run, Whole::Yes, plan.file, plan.study.measures),
                                  plan.study.measures);
    }
    const TrainingConfig config = config_of(run, Whole::No, plan.file, plan.study.measures);
    const Duration one = line->second.run(config.num_steps, num_evaluations(config));
    work.time.seconds += one.seconds;
    work.time.cpu_seconds += one.cpu_seconds;
    work.flops += static_cast<double>(config.num_steps) * line->second.flops_per_step;
  }
  work.num_lines = lines.size();
  return work;
}

// "40 s", "12 min", "3.5 h".
std::string rough_text(double seconds) {
  if (seconds < 99.5) {
    return fmt::format("{:.0f} s", seconds);
  }
  return seconds < 99.5 * 60.0 ? fmt::format("{:.0f} min", seconds / 60.0)
                               : fmt::format("{:.1f} h", seconds / 3600.0);
}

}  // namespace

void print_plan(const StudyPlan& plan) {
  for (const StudyRun& run : plan.runs) {
    config_of(run, Whole::No, plan.file, plan.study.measures);
  }
  for (const StudyRun& run : plan.runs) {
    std::cout << fmt::format("{}\n  {}\n", name_of(run), command_of(run));
  }
  std::cout << std::flush;
  const auto num_done = static_cast<std::size_t>(std::ranges::count_if(
      plan.runs, [&](const StudyRun& run) { return plan.done.contains(run.number); }));
  const std::size_t num_left = plan.runs.size() - num_done;
  if (num_left == 0) {
    std::cout << fmt::format("{} runs, all of them done\n", num_done);
    return;
  }
  const Work work = measure(plan);
  // Runs beside each other share the cores.
  const double seconds =
      std::max(work.time.seconds / static_cast<double>(std::min<std::size_t>(
                                       static_cast<std::size_t>(plan.num_at_once), num_left)),
               work.time.cpu_seconds / plan.num_cores);
  std::string flops = fmt::format("{:.3g}", work.flops);
  std::erase(flops, '+');
  std::cout << fmt::format(
      "{} runs, {}{}{} FLOPs and about {}, {} at a time (measured by {} steps of each of {} "
      "lines)\n",
      plan.runs.size(),
      num_done == 0 ? "" : fmt::format("{} of them done; the others take ", num_done),
      plan.study.target.is_any() ? "at most " : "", flops, rough_text(seconds), plan.num_at_once,
      kEstimateSteps, work.num_lines);
}

}  // namespace halfback::cli
