// This process's part in a run over several. It joins the others, compares what all must have in
// common, and connects their ranks. A failure of one process becomes the failure of all, reported
// once and in full.
#pragma once

#include "halfback/checkpoint/peers.h"
#include "halfback/engine/pipeline.h"
#include "halfback/transport/c10d.h"
#include "halfback/transport/processes.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace halfback {

// Another process has failed first, and reports it.
class EndedByAnother : public std::exception {
 public:
  const char* what() const noexcept override { return "another process has failed"; }
};

class ProcessRun final : public Peers {
 public:
  struct Options {
    int num_ranks = 1;
    int channel_capacity = 16;
    double timeout_seconds = 60.0;
    WaitNotes::Report on_wait;  // as in ProcessesOptions
  };
  // Waits for the others. Throws like Processes.
  ProcessRun(const World& world, const Options& options);
  ~ProcessRun() override;

  // Returns "process 1 (ranks 2-3, pid 4711 on host)".
  const std::string& name() const { return processes_.name(index()); }

  // Like those of Processes.
  void prepare(const std::function<void()>& work) { processes_.prepare(work); }
  void agree(const std::vector<std::pair<std::string, std::string>>& values) {
    processes_.agree(values);
  }

  // Peers may have to wait until one has written its part of a checkpoint. A process that fails
  // meanwhile ends the wait at once.
  std::vector<std::string> gather(const std::string& what, const std::string& text) override {
    return processes_.gather(what, text, std::chrono::hours(1));
  }

  std::string prefix(int process) const override { return processes_.prefix(process); }

  // Connects the ranks. All processes call it once, together.
  struct Connection {
    std::unique_ptr<Network> network;
    ClockOffset clock;  // to the first process
  };
  Connection connect();

  // While it lives, other processes hear of the positions in this pipeline, and the pipeline's
  // waits end when another process fails.
  class Watch {
   public:
    Watch(ProcessRun& run, Pipeline& pipeline);
    ~Watch();
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

   private:
    ProcessRun& run_;
  };

  // Sets what messages about a failure say about checkpoints.
  void note_checkpoint(std::int64_t step) { last_checkpoint_.store(step); }

  // Does the work. What it throws fails all processes: it is thrown with everything known about the
  // processes, or as EndedByAnother if another one failed first. ConfigError and RefusedError,
  // which all have, are passed on.
  void guard(const std::function<void()>& work);

  // Waits for the others at the regular end; the pipeline must live until then.
  void leave() { processes_.leave(); }

 private:
  void watch(Pipeline& pipeline);
  void watch_no_more();
  std::string position();

  Options options_;
  std::mutex pipeline_mutex_;
  Pipeline* pipeline_ = nullptr;
  std::string last_position_ = "it is starting";  // of the last watched pipeline
  std::atomic<std::int64_t> last_checkpoint_{0};
  Processes processes_;
};

}  // namespace halfback
