// Training of a model, from data to checkpoint.
#pragma once

#include "halfback/checkpoint/checkpoint_writer.h"
#include "halfback/data/dataset.h"
#include "halfback/data/token_text.h"
#include "halfback/train/training_config.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace halfback {

struct StepReport {
  std::int64_t step = 0;
  double learning_rate = 0.0;
  std::int64_t num_items = 0;  // tokens or images
  std::optional<Evaluation> validation;
  std::optional<double> bits_per_byte;  // of the validation of a text, with any tokenizer
  const StepResult* result = nullptr;
};

struct TrainingOutcome {
  std::int64_t first_step = 0;  // done before this run
  std::int64_t last_step = 0;
  bool was_stopped = false;
};

// One training run. The constructor refuses everything that can be refused.
class Training {
 public:
  // `on_encoded` gets the progress of tokenizing a text.
  explicit Training(TrainingConfig config, const TokenText::OnEncoded& on_encoded = {});
  ~Training() = default;
  Training(const Training&) = delete;
  Training& operator=(const Training&) = delete;

  // Trains to the last step, or until `stop` becomes true in any process, which ends the run after
  // the steps that were begun. Calls on_step after every step, in order. Checkpoints are written
  // while training continues; run() waits for the final one in both cases. Throws DivergedError if
  // the loss is not finite, and FileError at the end of the step in which a checkpoint could not be
  // written.
  TrainingOutcome run(const std::function<void(const StepReport&)>& on_step,
                      const std::atomic<bool>& stop);

  // Steps done before this run; 0 unless it resumes.
  std::int64_t first_step() const { return state_step_; }
  const TrainingConfig& config() const { return config_; }
  Pipeline& pipeline() { return *pipeline_; }
  // Returns the data of a step, from 1.
  std::vector<MicroBatch> micro_batches(std::int64_t step) const;
  // The possible error of another process's times relative to the first's; 0 for one process.
  double clock_error_seconds() const { return clock_error_seconds_; }

 private:
  PeersPointer peers() const;
  TrainingOutcome run_steps(const std::function<void(const StepReport&)>& on_step,
                            const std::atomic<bool>& stop);
  void open(const TokenText::OnEncoded& on_encoded);
  void make_pipeline();
  void restore();
  void prune();
  void require_same_data(const TrainingState& state) const;
  void note_other_options(const TrainingState& state) const;
  void note(const std::string& text) const;
  void load_model(const std::filesystem::path& directory, Head head);
  bool validates() const;
  void validate(StepReport& report);
  void save(std::int64_t step);
  std::int64_t samples_per_step() const;
  // Returns the first step behind `step` that must be done before the next one begins.
  std::int64_t next_pause(std::int64_t step) const;
  void begin_step(std::int64_t step, const std::atomic<bool>& stop);
  // Throws Error for a loss or a norm that is not finite.
  void require_converging(std::int64_t step, const StepResult& result);
  StageList stages();
  StageList written_stages();

  TrainingConfig config_;
  std::unique_ptr<Dataset> data_;
  DataIdentity data_identity_;
  std::uint32_t tokenizer_crc32_ = 0;
  std::string losses_;  // by block; empty for backprop
  std::unique_ptr<Pipeline> pipeline_;
  double clock_error_seconds_ = 0.0;
  Inherited inherited_;
  std::int64_t state_step_ = 0;
  std::int64_t position_ = 0;               // of step state_step_ + 1
  std::optional<std::int64_t> saved_step_;  // of the last checkpoint
  std::optional<CheckpointWriter> writer_;  // destroyed before the pipeline, whose stages it uses
  std::optional<ProcessRun::Watch> watch_;  // destroyed before both
};

}  // namespace halfback
