#include "cli/dry_run.h"

#include "cli/options.h"
#include "cli/status_line.h"
#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "halfback/base/text.h"
#include "halfback/checkpoint/checkpoint.h"
#include "halfback/checkpoint/checkpoint_save.h"
#include "halfback/engine/runtime.h"
#include "halfback/engine/stage.h"
#include "halfback/measure/profile.h"
#include "halfback/models/cut.h"
#include "halfback/simulate/memory_model.h"
#include "halfback/simulate/simulator.h"
#include "halfback/train/progress.h"
#include "halfback/train/training_data.h"
#include "halfback/views/headline.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <ostream>
#include <string_view>

namespace halfback::cli {

namespace {

constexpr Rounds kRounds{.num_measured = 3, .num_warmup = 1};

// Throws what Training refuses before its first step.
void refuse(const TrainingConfig& config) {
  check(config);
  open_data(config);
  const std::filesystem::path source =
      config.resumes_from ? config.resumes_from->directory : config.initial;
  if (!source.empty()) {
    require_same_model(load_config(source), config.model, source);
    require_same_tokenizer(source, *config.tokenizer);
  }
  if (!config.checkpoint.empty()) {
    require_checkpoint_place(config.checkpoint);
  }
}

// The parts of the model, by stage.
struct Parts {
  std::vector<int> first_block;  // and one past the last
  std::vector<std::int64_t> num_parameters;
  MemoryModel memory;
};

std::int64_t num_trained(const StageLayers& stage) {
  std::int64_t count = 0;
  for (const Parameter* const one : stage.parameters()) {
    count += one->trains && !one->is_copy ? one->numel() : 0;
  }
  return count;
}

// Stages get no memory: their tensors only have sizes.
Parts parts_of(const TrainingConfig& config) {
  Parts parts{.first_block = first_blocks(cut_of(config)), .num_parameters = {}, .memory = {}};
  std::vector<StageLayers> stages = build_stages(config);
  parts.memory.stages =
      stage_bytes(stages, {.input_shape = input_shape(config.model, samples_that_pass(config))});
  const int num_replicas = config.schedule->placement.num_replicas();
  Stage::Options options = pipeline_options(config).stage;
  options.device = at::kMeta;
  options.gradient_groups = std::max(1, config.pipeline.gradient_groups / num_replicas);
  options.num_optimizer_shards = config.pipeline.shards_optimizer ? num_replicas : 1;
  for (StageLayers& layers : stages) {
    const auto number = static_cast<int>(parts.num_parameters.size());
    const Stage stage(std::move(layers), options,
                      gradients_of(config.schedule->losses, config.schedule->num_stages(), number));
    parts.num_parameters.push_back(num_trained(stage.layers()));
    parts.memory.states.push_back(stage.state_bytes());
  }
  return parts;
}

// "3", or "0-3".
std::string range(int first, int last) {
  return first == last ? std::to_string(first) : fmt::format("{}-{}", first, last);
}

void print_placement(const Schedule& schedule,
                     const Parts& parts,
                     int num_processes,
                     std::ostream& out) {
  std::vector<std::vector<std::string>> rows = {{"stages", "blocks"}};
  std::vector<std::int64_t> parameters;
  for (int rank = 0; rank < schedule.num_ranks(); ++rank) {
    std::vector<std::string> blocks;
    std::int64_t& sum = parameters.emplace_back();
    const std::vector<int> stages = schedule.placement.stages_of(rank);
    for (const int stage : stages) {
      const auto index = static_cast<std::size_t>(stage);
      blocks.push_back(range(parts.first_block[index], parts.first_block[index + 1] - 1));
      sum += parts.num_parameters[index];
    }
    rows.push_back(
        {fmt::format("{}", fmt::join(stages, ",")), fmt::format("{}", fmt::join(blocks, ","))});
  }
  std::size_t width[2] = {0, 0};
  for (const auto& row : rows) {
    width[0] = std::max(width[0], row[0].size());
    width[1] = std::max(width[1], row[1].size());
  }
  out << fmt::format("\n{:>4} {:>7}  {:<{}}  {:<{}} {:>11}\n", "rank", "process", rows[0][0],
                     width[0], rows[0][1], width[1], "parameters");
  for (int rank = 0; rank < schedule.num_ranks(); ++rank) {
    const auto& row = rows[static_cast<std::size_t>(rank) + 1];
    out << fmt::format(
        "{:>4} {:>7}  {:<{}}  {:<{}} {:>11}\n", rank, rank * num_processes / schedule.num_ranks(),
        row[0], width[0], row[1], width[1],
        format_count(static_cast<double>(parameters[static_cast<std::size_t>(rank)])));
  }
}

void print_memory(const Schedule& schedule, const MemoryModel& memory, std::ostream& out) {
  const std::vector<StateBytes> states = constant_memory(schedule, memory);
  const std::vector<std::int64_t> peaks = predict_memory(schedule, memory).peak;
  out << fmt::format("\n{:>4} {:>11} {:>11} {:>11} {:>11} {:>11}\n", "rank", "parameters",
                     "gradients", "optimizer", "activations", "total");
  for (std::size_t rank = 0; rank < states.size(); ++rank) {
    out << fmt::format("{:>4} {:>11} {:>11} {:>11} {:>11} {:>11}\n", rank,
                       format_bytes(states[rank].parameters), format_bytes(states[rank].gradients),
                       format_bytes(states[rank].optimizer), format_bytes(peaks[rank]),
                       format_bytes(states[rank].total() + peaks[rank]));
  }
  out << "activations: the most that is kept between two actions; what an action needs while it "
         "runs\ncomes on top.\n";
}

// Bytes that programs can still get; nothing if the system does not report them.
std::optional<std::int64_t> available_bytes() {
  constexpr std::string_view kName = "MemAvailable:";
  const std::string text = read_file("/proc/meminfo");
  for (const std::string_view line : split(text, '\n')) {
    if (line.starts_with(kName)) {
      const std::string_view value = trim(line.substr(kName.size()));
      const auto kibibytes = parse_integer(value.substr(0, value.find(' ')));
      return kibibytes ? std::optional(*kibibytes * 1024) : std::nullopt;
    }
  }
  return std::nullopt;
}

// The bytes of a profile on this machine: all stages with a few micro-batches each.
std::int64_t profile_bytes(const MemoryModel& memory) {
  std::int64_t sum = 0;
  for (std::size_t stage = 0; stage < memory.stages.size(); ++stage) {
    sum += memory.states[stage].total() +
           kProfileMicroBatches *
               (memory.stages[stage].until_input + memory.stages[stage].until_weight);
  }
  return sum;
}

// What a step is predicted from, and its description.
struct Costs {
  CostModel model;
  std::string source;
};

Costs measured_costs(const TrainingConfig& config) {
  StatusLine status;
  const Profile found =
      profile(config,
              {.num_ranks = config.schedule->num_ranks(),
               .num_stages = config.schedule->num_stages(),
               .losses = config.schedule->losses,
               .rounds = kRounds},
              [&](auto done, auto total) {
                status.show(fmt::format("measuring: round {} of {}", done, total));
              });
  return {
      found.file.costs,
      fmt::format(
          "times of actions measured here, each stage alone, {} rounds; what is sent takes no time",
          kRounds.num_measured)};
}

void print_step(const TrainingConfig& config,
                const Schedule& schedule,
                const Costs& costs,
                std::ostream& out) {
  const SimulateOptions options{.validates = false, .keeps_timeline = false};
  const SimulationResult step = simulate(schedule, costs.model, options);
  // Without a barrier between steps a rank goes on as soon as it can: what counts is the period.
  const SteadyStep steady = has_updates(schedule)
                                ? steady_step(schedule, costs.model, schedule.num_ranks(), options)
                                : SteadyStep{step.makespan, step.bubble_fraction};
  const auto items = static_cast<double>(config.micro_batch_size * items_per_sample(config.model) *
                                         schedule.num_micro_batches);
  std::vector<std::string> busy;
  for (const double seconds : step.busy) {
    busy.push_back(fmt::format("{:.0f}", seconds / steady.period * 100.0));
  }
  out << fmt::format(
      "\nstep: {:.1f} ms, {} {}/s, bubble fraction {:.3f}, ranks busy {} %\n"
      "simulated, from {}\n",
      steady.period * 1e3, format_count(items / steady.period), item_name(config.model),
      steady.bubble_fraction, fmt::join(busy, ", "), costs.source);
  if (has_updates(schedule)) {
    out << fmt::format(
        "in a long run, which has no barrier between steps; the first takes {:.1f} ms\n",
        step.makespan * 1e3);
  }
  const int needed = schedule.num_ranks() * config.pipeline.threads_per_rank;
  if (config.pipeline.stage.device.is_cpu() && needed > num_cores()) {
    out << fmt::format(
        "note: assumes each rank has its own cores ({} in all); this machine has {}\n", needed,
        num_cores());
  }
}

}  // namespace

void print_dry_run(const TrainingConfig& config, const DryRun& request, std::ostream& out) {
  check(config.model);
  const Parts parts = parts_of(config);
  refuse(config);
  const Schedule& schedule = *config.schedule;
  std::optional<Costs> costs;
  if (!request.cost_file.empty()) {
    costs = {load_cost_file(request.cost_file).costs, "the times in " + request.cost_file};
    costs->model.check(schedule);
  }
  out << fmt::format("model: {}\nschedule: {}\nprocesses: {}; threads: {} per rank\n",
                     describe(config.model), headline(schedule), request.num_processes,
                     config.pipeline.threads_per_rank);
  print_placement(schedule, parts, request.num_processes, out);
  print_memory(schedule, parts.memory, out);
  out << std::flush;
  const std::optional<std::int64_t> available = available_bytes();
  const std::int64_t needed = profile_bytes(parts.memory);
  if (!costs && config.pipeline.stage.device.is_cpu() && available && needed > *available) {
    out << fmt::format(
        "\nstep: not predicted; to measure takes {} and {} are free; give --cost-file\n",
        format_bytes(needed), format_bytes(*available));
    return;
  }
  print_step(config, schedule, costs ? *costs : measured_costs(config), out);
}

}  // namespace halfback::cli
