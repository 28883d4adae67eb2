// What people get wrong with `halfback train`: the arguments, the exit code, and a part of the one
// line that every kind of run says of it.
#pragma once

#include "tests/support/training_command.h"

#include <filesystem>
#include <string>
#include <vector>

namespace halfback::testing {

struct BadInput {
  std::string arguments;  // after those of train()
  int exit_code = 0;
  std::string text;
};

class BadInputTest : public TrainingCommandTest {
 protected:
  // What shows before a process meets others.
  static std::vector<BadInput> bad_options() {
    return {
        {"--stepz 3", 2, "unknown option 'stepz' of train (did you mean steps?)"},
        {"--schedule 1f1b-11", 2, "unknown family '1f1b-11' (did you mean 1f1b-1?)"},
        {"--two-stage maybe", 2, "--two-stage: 'maybe' is not known; expected on, off"},
        {"--ranks 4", 2, "cut: 2 blocks cannot be spread over 4 stages"},
        {"--schedule 1f1b-2 --micro-batches 3", 2, "micro-batches"},
        {"--heads 3", 2, "model: width 16 over 3 heads gives heads of 5.33333"},
        {"--model lama", 2,
         "--model is 'lama' (did you mean llama?); known are llama, bert, mamba"},
        {"--model bert --kv-heads 2", 2, "--kv-heads is not a size of bert; leave it out"},
        {"--width wide", 2, "model: --width is 'wide'; expected a whole number"},
        {"--steps 0", 2, "--steps is 0; expected 1 or more"},
        {"--learning-rate nan", 2, "--learning-rate is nan; expected 0 or more"},
        {"--timeout 0", 2, "--timeout is 0; expected more than 0 seconds"},
        {"--resume", 2, "--resume needs --checkpoint DIR"},
        {"--keep 0", 2, "--keep is 0; expected 1 or more"},
        {"--device gpu", 2, "--device is gpu; expected cpu, cuda or cuda:K"},
        {"--device cuda:99", 2, "device cuda:99: "},
        {"--precision float8", 2, "--precision: 'float8' is not known"},
        {"--loss-scale 3", 2, "--loss-scale is 3; expected auto, dynamic or a power of two"},
        {"--optimizer adam", 2, "--optimizer: 'adam' is not known (did you mean adamw?)"},
        {"--cost-file costs.json", 2, "--cost-file is for --dry-run"},
        {"--schedule none.csv", 1, "none.csv: cannot open"},
        {"--config none.toml", 1, "none.toml: no such configuration file"},
    };
  }

  // What shows when the processes have met and open files.
  std::vector<BadInput> bad_files() const {
    const auto of = [this](const char* option, const char* name) {
      return std::string(option) + " " + path(name) + " ";
    };
    const std::string resume = of("--resume --checkpoint", "a");
    return {
        {of("--data", "none.txt"), 1, "none.txt: cannot open: No such file"},
        {of("--data", "empty.txt"), 1, "empty.txt: is empty; expected text; use another file"},
        {of("--data", "short.txt"), 1, "one sequence of 16 needs 17"},
        {of("--data", "a"), 1, "is a directory; llama takes a text file"},
        {of("--tokenizer", "none.model"), 2, "none.model' is not a file; expected bytes, "},
        {"--vocabulary 10", 2, "model: vocabulary 10 is too small for bytes"},
        {"--cut 1,2", 2, "cut: '1,2' has 2 stages and 3 blocks; expected 2 stages and 2 blocks"},
        {of("--report", "text.txt/report"), 1,
         "text.txt/report: cannot make the directory: Not a directory; choose another --report"},
        {of("--checkpoint", "empty.txt"), 1,
         "empty.txt: is a file; expected a directory or nothing"},
        {of("--checkpoint", "full"), 1, "full: holds files"},
        {of("--initial", "none"), 1, "none/config.json: cannot open"},
        {of("--initial", "a") + "--hidden 32", 2, "hidden is 24 there and 32 in this run"},
        {of("--initial", "torn"), 1, "; the file is torn"},
        {of("--resume --checkpoint", "none"), 1, "none/checkpoint.json: cannot open"},
        {of("--resume --checkpoint", "torn"), 1, "; the file is torn"},
        {of("--resume --checkpoint", "stateless"), 1, "training_state.json: cannot open"},
        {resume + "--hidden 32", 2, "hidden is 24 there and 32 in this run; use --hidden 24"},
        {resume + "--seed 2", 2, "the run was with --seed 1, this one has 2"},
        {resume + "--micro-batch-size 2", 2, "times micro-batches) of 2, this one has 4"},
        {resume + "--gradient-groups 2", 2, "the run was with --gradient-groups 1, this one has 2"},
        {resume + "--optimizer sgd", 1, "state of optimizer adamw; this run has sgd"},
        {resume + of("--data", "other.txt"), 2, "a: the run was with "},
    };
  }

  // Lays out what bad_files() speaks of.
  void make_files() const {
    namespace fs = std::filesystem;
    spit(directory_ / "empty.txt", "");
    spit(directory_ / "short.txt", "0123456789");
    spit(directory_ / "other.txt", slurp(directory_ / "text.txt") + "One line more.\n");
    output_of(train("--checkpoint " + path("a")));
    for (const char* copy : {"torn", "stateless"}) {
      fs::copy(directory_ / "a", directory_ / copy);
    }
    fs::resize_file(directory_ / "torn" / "model.safetensors", 1000);
    fs::remove(directory_ / "stateless" / "training_state.json");
    fs::create_directory(directory_ / "full");
    spit(directory_ / "full" / "file", "mine");
  }
};

}  // namespace halfback::testing
