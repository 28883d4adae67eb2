#include "cli/report.h"

#include "halfback/base/error.h"
#include "halfback/base/quantiles.h"
#include "halfback/base/text.h"
#include "halfback/layers/stage_layers.h"
#include "halfback/models/model.h"
#include "halfback/timeline/chrome_trace.h"
#include "halfback/timeline/statistics.h"
#include "halfback/train/progress.h"
#include "halfback/views/page.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <ostream>
#include <system_error>

namespace halfback::cli {

namespace {

constexpr const char* kMetricsFile = "metrics.jsonl";
constexpr const char* kConfigurationFile = "config.toml";
constexpr const char* kTraceFile = "trace.json";
constexpr const char* kPageFile = "report.html";

std::filesystem::path made(const std::filesystem::path& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) {
    throw FileError(fmt::format("{}: cannot make the directory: {}; choose another --report",
                                directory.string(), error.message()));
  }
  return directory;
}

nlohmann::json to_json(const RankMemory& memory) {
  return {{"parameters", memory.parameters},
          {"gradients", memory.gradients},
          {"optimizer_state", memory.optimizer_state},
          {"activations", memory.activations},
          {"peak", memory.peak}};
}

nlohmann::json to_json(const Link& link) {
  return {{"from", link.from},
          {"to", link.to},
          {"messages", link.messages},
          {"bytes", link.bytes},
          {"seconds", link.seconds}};
}

// Of the time from the end of the step before, in which ranks may also have worked on other steps.
double bubble_of(const StepResult& step, const Statistics& times) {
  return idle_fraction(times.busy_seconds, step.seconds);
}

nlohmann::json to_json(const StepReport& step, const std::string& speed_name) {
  const StepResult& result = *step.result;
  const Statistics times = statistics(result.timeline);
  nlohmann::json memory = nlohmann::json::array();
  for (const RankMemory& rank : result.memory) {
    memory.push_back(to_json(rank));
  }
  nlohmann::json links = nlohmann::json::array();
  for (const Link& link : result.timeline.links) {
    links.push_back(to_json(link));
  }
  nlohmann::json line = {{"step", step.step},
                         {"loss", result.loss},
                         {"gradient_norm", result.gradient_norm},
                         {"learning_rate", step.learning_rate},
                         {"seconds", result.seconds},
                         {speed_name, static_cast<double>(step.num_items) / result.seconds},
                         {"bubble_fraction", bubble_of(result, times)},
                         {"memory_bytes", std::move(memory)},
                         {"links", std::move(links)}};
  if (result.losses.size() > 1) {
    line["losses"] = result.losses;
  }
  if (times.longest_reduction() > 0.0) {
    line["reduction_seconds"] = times.reduction_seconds;
    line["exposed_reduction_seconds"] = times.exposed_reduction_seconds;
  }
  if (result.loss_scale != 1.0) {
    line["loss_scale"] = result.loss_scale;
    line["skipped"] = result.was_skipped;
  }
  if (step.validation) {
    line["validation_loss"] = step.validation->loss;
    line["validation_accuracy"] = step.validation->accuracy;
    if (step.validation->losses.size() > 1) {
      line["validation_losses"] = step.validation->losses;
      line["validation_accuracies"] = step.validation->accuracies;
    }
  }
  if (step.bits_per_byte) {
    line["validation_bits_per_byte"] = *step.bits_per_byte;
  }
  return line;
}

// What was sent between ranks in a step, and for how much of it the ranks did not wait.
void print_communication(std::ostream& out, const Timeline& timeline, const Statistics& times) {
  Link sum;
  for (const Link& link : timeline.links) {
    sum.messages += link.messages;
    sum.bytes += link.bytes;
    sum.seconds += link.seconds;
  }
  if (sum.messages > 0) {
    out << fmt::format("messages: {} per step, {}, over {} links", sum.messages,
                       format_bytes(sum.bytes), timeline.links.size());
    if (sum.seconds > 0.0) {
      out << fmt::format(", {:.1f} % of their time in transit hidden from their senders",
                         100.0 * hidden_message_fraction(timeline));
    }
    out << '\n';
  }
  if (const double reduction = times.longest_reduction(); reduction > 0.0) {
    out << fmt::format("gradients: summed over the replicas in {:.1f} ms, {:.1f} exposed\n",
                       1e3 * reduction, 1e3 * times.longest_exposed_reduction());
  }
  out << '\n';
}

}  // namespace

RunReport::RunReport(const std::filesystem::path& directory,
                     const std::string& config_toml,
                     std::string item_name,
                     std::optional<std::int64_t> resumed_step)
    : directory_(made(directory)),
      item_name_(std::move(item_name)),
      files_(directory_),
      curves_(item_name_) {
  files_.require_own({kMetricsFile, kConfigurationFile, kTraceFile, kPageFile});
  if (!resumed_step) {
    for (const std::string& name : files_.own()) {
      files_.remove(name);
    }
  }
  files_.note({{kMetricsFile, {}}});
  metrics_.emplace(directory_ / kMetricsFile, resumed_step);
  curves_.add_file(directory_ / kMetricsFile);
  events_.emplace(directory_, resumed_step);
  files_.note(growing());
  files_.write(kConfigurationFile, config_toml);
}

FileSummaries RunReport::growing() const {
  return {{kMetricsFile, metrics_->summary()},
          {events_->path().filename().string(), events_->summary()}};
}

void RunReport::add(const StepReport& step) {
  const std::string speed_name = item_name_ + "_per_second";
  const nlohmann::json line = to_json(step, speed_name);
  metrics_->append(line);
  curves_.add(line);
  const StepResult& result = *step.result;
  events_->scalar("loss/train", result.loss, step.step);
  events_->scalar("gradient_norm", result.gradient_norm, step.step);
  events_->scalar("learning_rate", step.learning_rate, step.step);
  events_->scalar(speed_name, static_cast<double>(step.num_items) / result.seconds, step.step);
  if (step.validation) {
    events_->scalar("loss/validation", step.validation->loss, step.step);
    events_->scalar("accuracy/validation", step.validation->accuracy, step.step);
  }
  if (step.bits_per_byte) {
    events_->scalar("bits_per_byte/validation", *step.bits_per_byte, step.step);
  }
  if (last_step_ == 0) {
    files_.note(growing());  // their beginnings, which no other file has
  }
  last_step_ = step.step;
}

void RunReport::finish(const TrainingConfig& config, const Timeline& timeline) {
  events_->flush();
  files_.write(kTraceFile, to_chrome_trace(timeline));
  if (!timeline.spans.empty()) {
    const std::vector<StageBytes> bytes =
        stage_bytes(build_stages(config),
                    {.input_shape = input_shape(config.model, samples_that_pass(config))});
    const Schedule& ran = *config.schedule;
    Report page = measured_page(ran, timeline, MemoryModel{.stages = bytes});
    page.charts = curves_.charts();
    files_.write(kPageFile, to_html(page));
  }
  files_.finish(growing(), last_step_);
}

void RunSummary::add(const StepReport& step) {
  if (!first_loss_) {
    first_loss_ = step.result->loss;
  }
  if (step.validation) {
    validation_ = step.validation;
    bits_per_byte_ = step.bits_per_byte;
  }
  step_seconds_.push_back(step.result->seconds);
  bubbles_.push_back(bubble_of(*step.result, statistics(step.result->timeline)));
  num_items_ = step.num_items;
  last_ = *step.result;
}

void RunSummary::print(std::ostream& out) const {
  if (!first_loss_) {
    out << "nothing to do: all steps are done\n";
    return;
  }
  out << fmt::format("loss: {:.4f} -> {:.4f}", *first_loss_, last_.loss);
  if (validation_) {
    out << fmt::format(", validation {:.4f}", validation_->loss);
    if (bits_per_byte_) {
      out << fmt::format(", {:.3f} bits per byte", *bits_per_byte_);
    }
    out << fmt::format(", {} {:.1f} %", compares_views_ ? "views matched" : "accuracy",
                       100.0 * validation_->accuracy);
  }
  if (last_.losses.size() > 1) {
    out << fmt::format("\nlosses of all heads: {:.4f}", fmt::join(last_.losses, ", "));
  }
  const double seconds = median(step_seconds_);
  const Statistics times = statistics(last_.timeline);
  out << fmt::format("\nspeed: {} {}/s, step {:.1f} ms, bubble fraction {:.3f} (medians)\n",
                     format_count(static_cast<double>(num_items_) / seconds), item_name_,
                     seconds * 1e3, median(bubbles_));
  print_communication(out, last_.timeline, times);
  out << fmt::format("{:>4} {:>11} {:>11} {:>11} {:>11} {:>11}\n", "rank", "parameters",
                     "gradients", "optimizer", "activations", "peak");
  for (std::size_t rank = 0; rank < last_.memory.size(); ++rank) {
    const RankMemory& memory = last_.memory[rank];
    out << fmt::format("{:>4} {:>11} {:>11} {:>11} {:>11} {:>11}\n", rank,
                       format_bytes(memory.parameters), format_bytes(memory.gradients),
                       format_bytes(memory.optimizer_state), format_bytes(memory.activations),
                       format_bytes(memory.peak));
  }
  out << '\n';
}

}  // namespace halfback::cli
