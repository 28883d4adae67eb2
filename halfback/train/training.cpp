#include "halfback/train/training.h"

#include "halfback/base/error.h"
#include "halfback/base/text.h"
#include "halfback/checkpoint/checkpoint.h"
#include "halfback/checkpoint/checkpoint_save.h"
#include "halfback/checkpoint/manifest.h"
#include "halfback/data/crc32.h"
#include "halfback/engine/runtime.h"
#include "halfback/train/run_description.h"
#include "halfback/train/training_data.h"

#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>
#include <set>
#include <string>
#include <utility>

namespace halfback {

namespace {

void require_head(const TrainingConfig& config) {
  const auto* const bert = std::get_if<BertConfig>(&config.model);
  if (bert != nullptr && !bert->has_head) {
    throw ConfigError(fmt::format(
        "{}: an encoder without a head (BertModel), which alone cannot be trained; use --new-head "
        "to train one on it",
        config.initial.string()));
  }
}

std::string described(const std::string& losses) {
  return losses.empty() ? "none" : fmt::format("'{}'", losses);
}

}  // namespace

Training::Training(TrainingConfig config, const TokenText::OnEncoded& on_encoded)
    : config_(std::move(config)) {
  if (config_.processes) {
    config_.processes->prepare([&] { open(on_encoded); });
  } else {
    open(on_encoded);
  }
}

void Training::open(const TokenText::OnEncoded& on_encoded) {
  initialize_runtime();
  check(config_);
  check(config_.model);
  require_head(config_);
  data_ = open_data(config_, on_encoded);
  data_identity_ = data_->identity();
  tokenizer_crc32_ = crc32_of(config_.tokenizer->identity());
  if (config_.processes) {
    config_.processes->agree(
        {{"the length of --data", fmt::format("{} bytes", data_identity_.num_bytes)},
         {"the checksum of --data", fmt::format("{:08x}", data_identity_.crc32)},
         {"the checksum of --tokenizer", fmt::format("{:08x}", tokenizer_crc32_)}});
  }
  make_pipeline();
  restore();
  if (!config_.checkpoint.empty()) {
    require_checkpoint_place(
        config_.checkpoint,
        {.peers = peers(),
         .tokenizer = config_.tokenizer,
         .bytes = checkpoint_bytes(written_stages()),
         .keep = config_.keep,
         .sets_aside = config_.resumes_from && !config_.resumes_from->note.empty()});
    writer_.emplace(
        config_.checkpoint, config_.model,
        CheckpointOptions{
            .tokenizer = config_.tokenizer,
            .peers = peers(),
            .keep = config_.keep,
            .previous_step = config_.resumes_from ? std::optional(state_step_) : std::nullopt,
            .on_complete =
                [processes = config_.processes](std::int64_t step) {
                  if (processes) {
                    processes->note_checkpoint(step);
                  }
                },
            .inherited = std::move(inherited_),
            .dtype = config_.checkpoint_dtype,
            .on_note = config_.on_note});
  }
}

void Training::make_pipeline() {
  const std::vector<int> cut = cut_of(config_);
  ProcessRun::Connection connection;
  if (config_.processes) {
    connection = config_.processes->connect();
    config_.pipeline.clock_offset_seconds = connection.clock.seconds;
    for (const std::string& error : config_.processes->gather(
             "the error of its clock", fmt::format("{}", connection.clock.error_seconds))) {
      clock_error_seconds_ = std::max(clock_error_seconds_, parse_number(error).value_or(0.0));
    }
  }
  losses_ = losses_by_block(config_, cut);
  if (const std::string stages = untrained_stages(config_.schedule->losses, cut); !stages.empty()) {
    note(fmt::format(
        "no loss trains {}; {}", stages,
        stages.find(',') == std::string::npos ? "it keeps its values" : "they keep their values"));
  }
  pipeline_ = std::make_unique<Pipeline>([&] { return build_stages(config_); }, config_.schedule,
                                         pipeline_options(config_), std::move(connection.network));
  if (config_.processes) {
    watch_.emplace(*config_.processes, *pipeline_);
  }
}

PeersPointer Training::peers() const {
  return config_.processes ? PeersPointer(config_.processes) : alone();
}

StageList Training::stages() {
  StageList all;
  for (const LocalStage& local : pipeline_->local_stages()) {
    all.push_back(local.stage);
  }
  return all;
}

// Only one of several replicas of a stage is written.
StageList Training::written_stages() {
  const int num_replicas = config_.schedule->placement.num_replicas();
  std::map<int, Stage*> by_number;
  for (const LocalStage& local : pipeline_->local_stages()) {
    if (writes_stage(local.number, local.replica, num_replicas)) {
      by_number[local.number] = local.stage;
    }
  }
  StageList all;
  for (const auto& [number, stage] : by_number) {
    all.push_back(stage);
  }
  return all;
}

void Training::load_model(const std::filesystem::path& directory, Head head) {
  const ModelTensors tensors(directory, load_config(directory), head);
  load_parameters(tensors, stages());
  inherited_ = read_inherited(directory, tensors);
  if (config_.resumes_from) {
    // Files that others have put there stay there without our help.
    const std::set<std::string> own = own_entries(directory);
    std::erase_if(inherited_.files, [&](const auto& file) {
      return own.count(file.first.substr(0, file.first.find('/'))) == 0;
    });
  }
  for (const std::string& text : tensors.notes()) {
    note(text);
  }
}

void Training::note(const std::string& text) const {
  if (config_.on_note && peers()->is_first()) {
    config_.on_note(text);
  }
}

void Training::note_other_options(const TrainingState& state) const {
  for (const auto& [name, value] : options_of(config_)) {
    const auto found = state.options.find(name);
    if (found != state.options.end() && found->second != value) {
      note(fmt::format("{}: the run was with {} {} until step {}, and continues with {}",
                       config_.resumes_from->directory.string(), name, found->second, state.step,
                       value));
    }
  }
}

void Training::require_same_data(const TrainingState& state) const {
  const std::string where = config_.resumes_from->directory.string();
  const auto require = [&](const std::string& found, const std::string& wanted) {
    if (found != wanted) {
      throw ConfigError(
          fmt::format("{}: the run was with {}, this one has {}; its sequences would differ; "
                      "resume with the same, or start a new run with --initial",
                      where, found, wanted));
    }
  };
  const auto bytes = [](std::int64_t count) { return fmt::format("{} bytes of --data", count); };
  require(bytes(state.data_bytes), bytes(data_identity_.num_bytes));
  const auto checksum = [](const char* what, std::uint32_t crc32) {
    return fmt::format("{} of the checksum {:08x}", what, crc32);
  };
  require(checksum("a tokenizer", state.tokenizer_crc32),
          checksum("a tokenizer", tokenizer_crc32_));
  require(checksum("--data", state.data_crc32), checksum("--data", data_identity_.crc32));
  const auto split = [](std::int64_t count) {
    return fmt::format(
        "{} bytes of --data for training and the rest for validation "
        "(--validation-fraction; --evaluate-every 0 leaves no rest)",
        count);
  };
  require(split(state.training_bytes), split(data_identity_.num_training_bytes));
}

void Training::restore() {
  if (!config_.resumes_from) {
    if (config_.initial.empty() || config_.has_new_head || !losses_.empty()) {
      pipeline_->initialize(config_.seed());
    }
    if (!config_.initial.empty()) {
      require_complete_model(config_.initial, peers());
      const ModelConfig found = load_config(config_.initial);
      require_same_model(config_.has_new_head ? with_new_head(found, config_.model) : found,
                         config_.model, config_.initial, Fixed::InModel);
      require_same_tokenizer(config_.initial, *config_.tokenizer);
      load_model(config_.initial, config_.has_new_head ? Head::New : Head::Stored);
      require_finite(stages(), config_.initial);
    }
    prune();
    return;
  }
  const std::filesystem::path& directory = config_.resumes_from->directory;
  require_same_model(load_config(directory), config_.model, directory);
  require_same_tokenizer(directory, *config_.tokenizer);
  load_model(directory, Head::Stored);
  const auto require = [&](const char* what, auto found, auto wanted) {
    if (found != wanted) {
      throw ConfigError(fmt::format(
          "{}: the run was with {} {}, this one has {}; resume with the same, or start again from "
          "its parameters with --initial",
          directory.string(), what, found, wanted));
    }
  };
  const TrainingState found = read_training_state(directory);
  require("losses inside the model:", described(found.losses), described(losses_));
  require("--prune and --sparsity:", described(found.pruning), described(pruning_of(config_)));
  const TrainingState state =
      load_training_state(directory, stages(), to_string(config_.pipeline.stage.optimizer.kind));
  require_finite(stages(), directory);
  if (config_.pruning.sparsity > 0.0) {
    const c10::InferenceMode no_graph;
    for (Stage* const stage : stages()) {
      stage->store().take_mask();
    }
  }
  require("--seed", state.seed, config_.seed());
  require_same_data(state);
  require("a mini-batch (--micro-batch-size times micro-batches) of", state.samples_per_step,
          samples_per_step());
  require("--gradient-groups", state.gradient_groups, pipeline_->gradient_groups());
  note_other_options(state);
  if (state.loss_scale) {
    pipeline_->restore_loss_scale(*state.loss_scale);
  }
  if (config_.processes) {
    config_.processes->note_checkpoint(state.step);
  }
  state_step_ = state.step;
  position_ = state.position;
}

void Training::prune() {
  const PruneOptions& options = config_.pruning;
  if (options.sparsity == 0.0) {
    return;
  }
  const std::int64_t num_samples =
      options.num_samples > 0 ? options.num_samples : data_->num_train_samples();
  const Pruned pruned =
      halfback::prune(*pipeline_, options, config_.seed(),
                      {.num_batches = std::max<std::int64_t>(1, num_samples / samples_per_step()),
                       .batch = [this](std::int64_t step) { return micro_batches(step); }},
                      *peers());
  note(fmt::format("{} of {} weights train, and the others stay 0 ({})", pruned.num_kept,
                   pruned.num_weights, pruning_of(config_)));
  for (const std::string& name : pruned.emptied) {
    note(fmt::format("nothing is left of {}; no gradient passes it", name));
  }
}

std::int64_t Training::samples_per_step() const {
  return config_.micro_batch_size * pipeline_->num_micro_batches();
}

std::vector<MicroBatch> Training::micro_batches(std::int64_t step) const {
  const std::int64_t first = position_ + (step - state_step_ - 1) * samples_per_step();
  std::vector<MicroBatch> all;
  for (int i = 0; i < pipeline_->num_micro_batches(); ++i) {
    all.push_back(
        data_->train_batch(first + i * config_.micro_batch_size, config_.micro_batch_size));
  }
  return all;
}

bool Training::validates() const {
  return config_.evaluate_every > 0 && data_->num_validation_samples() > 0;
}

void Training::validate(StepReport& report) {
  std::int64_t count = std::min(config_.evaluate_samples, data_->num_validation_samples());
  if (compares_views(config_) && count > config_.micro_batch_size) {
    count -= count % config_.micro_batch_size;  // a smaller one would be easier
  }
  std::vector<MicroBatch> all;
  for (std::int64_t first = 0; first < count; first += config_.micro_batch_size) {
    all.push_back(
        data_->validation_batch(first, std::min(config_.micro_batch_size, count - first)));
  }
  report.validation = pipeline_->evaluate(all);
  if (task_of(config_.model) != Task::Classes) {
    const double nats = report.validation->loss * static_cast<double>(num_targets(all));
    report.bits_per_byte = nats / std::numbers::ln2 / num_target_bytes(all, *config_.tokenizer);
  }
}

void Training::save(std::int64_t step) {
  const int num_replicas = config_.schedule->placement.num_replicas();
  std::vector<GatheredStage> gathered =
      pipeline_->gather_update_state([num_replicas](int stage, int replica) {
        return writes_stage(stage, replica, num_replicas);
      });
  std::vector<StageBuffers> written;
  for (GatheredStage& one : gathered) {
    written.push_back(buffers_of(*one.stage, one.state));
  }
  writer_->begin(written, {.step = step,
                           .position = position_ + (step - state_step_) * samples_per_step(),
                           .seed = config_.seed(),
                           .optimizer = to_string(config_.pipeline.stage.optimizer.kind),
                           .data_bytes = data_identity_.num_bytes,
                           .data_crc32 = data_identity_.crc32,
                           .training_bytes = data_identity_.num_training_bytes,
                           .tokenizer_crc32 = tokenizer_crc32_,
                           .loss_scale = pipeline_->loss_scale().is_dynamic()
                                             ? std::optional(pipeline_->loss_scale().state())
                                             : std::nullopt,
                           .gradient_groups = pipeline_->gradient_groups(),
                           .samples_per_step = samples_per_step(),
                           .losses = losses_,
                           .pruning = pruning_of(config_),
                           .options = options_of(config_)});
  saved_step_ = step;
}

TrainingOutcome Training::run(const std::function<void(const StepReport&)>& on_step,
                              const std::atomic<bool>& stop) {
  if (!config_.processes) {
    return run_steps(on_step, stop);
  }
  // A failure is reported before anything is destroyed here: a checkpoint in progress waits for all
  // processes.
  TrainingOutcome outcome;
  config_.processes->guard([&] { outcome = run_steps(on_step, stop); });
  return outcome;
}

std::int64_t Training::next_pause(std::int64_t step) const {
  std::int64_t pause = config_.num_steps;
  for (const std::int64_t every :
       {validates() ? config_.evaluate_every : 0, writer_ ? config_.checkpoint_every : 0}) {
    if (every > 0) {
      pause = std::min(pause, (step / every + 1) * every);
    }
  }
  return pause;
}

void Training::begin_step(std::int64_t step, const std::atomic<bool>& stop) {
  pipeline_->begin_step(micro_batches(step),
                        {.number = step,
                         .learning_rate = config_.learning_rate.at(step, config_.num_steps),
                         .stop = &stop});
}

void Training::require_converging(std::int64_t step, const StepResult& result) {
  if (result.was_skipped || (std::isfinite(result.loss) && std::isfinite(result.gradient_norm))) {
    return;
  }
  if (writer_) {
    writer_->finish();
  }
  throw DivergedError(fmt::format(
      "training: step {}: loss {}, gradient norm {}; the run has diverged; use a smaller "
      "--learning-rate, a longer --warmup or --clip{}; {}",
      step, result.loss, result.gradient_norm,
      result.loss_scale > 1.0 ? fmt::format(", or a --loss-scale below {}", result.loss_scale) : "",
      saved_step_ ? fmt::format("the last checkpoint is of step {}", *saved_step_)
                  : "there is no checkpoint of this run"));
}

// Steps are begun ahead of their results, up to the next step after which all must be done: for an
// evaluation, a checkpoint or the end.
TrainingOutcome Training::run_steps(const std::function<void(const StepReport&)>& on_step,
                                    const std::atomic<bool>& stop) {
  TrainingOutcome outcome{.first_step = state_step_, .last_step = state_step_};
  if (config_.resumes_from) {
    saved_step_ = state_step_;
    if (writer_ && config_.resumes_from->directory != config_.checkpoint) {
      save(state_step_);  // the one that is there is incomplete
    }
  }
  const bool is_alone = !config_.processes;  // otherwise all must end after the same step
  bool is_stopped = false;
  std::int64_t begun = state_step_;
  while (true) {
    const std::int64_t pause = next_pause(outcome.last_step);
    while (begun < pause && pipeline_->num_begun() < pipeline_->most_begun() && !is_stopped &&
           !(is_alone && stop)) {
      begin_step(++begun, stop);
    }
    if (begun == outcome.last_step) {
      break;
    }
    const std::int64_t step = ++outcome.last_step;
    const StepResult result = pipeline_->finish_step();
    require_converging(step, result);
    is_stopped = is_stopped || result.is_stop_asked;
    const bool is_last = step == config_.num_steps || (is_stopped && step == begun);
    StepReport report{.step = step,
                      .learning_rate = config_.learning_rate.at(step, config_.num_steps),
                      .num_items = samples_per_step() * items_per_sample(config_.model),
                      .result = &result};
    if (validates() && (step % config_.evaluate_every == 0 || is_last)) {
      validate(report);
    }
    on_step(report);
    if (writer_) {
      writer_->check();
      if (config_.checkpoint_every > 0 && step % config_.checkpoint_every == 0) {
        save(step);
      }
    }
  }
  outcome.was_stopped = outcome.last_step < config_.num_steps;
  if (writer_) {
    if (saved_step_ != outcome.last_step) {
      save(outcome.last_step);
    }
    writer_->finish();
  }
  return outcome;
}

}  // namespace halfback
