// halfback generate: samples text from a checkpoint.
#include "cli/options.h"
#include "cli/training_options.h"
#include "cli/verbs.h"
#include "halfback/engine/device.h"
#include "halfback/engine/runtime.h"
#include "halfback/train/generation.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <iostream>
#include <memory>
#include <string>
#include <string_view>

namespace halfback::cli {

void add_generate_verb(CLI::App& app) {
  CLI::App* verb = app.add_subcommand("generate", "Sample text from a checkpoint");
  const auto options = std::make_shared<GenerationOptions>();
  add_option(*verb, "--checkpoint", options->checkpoint, "DIR",
             "Checkpoint directory that train wrote")
      ->required();
  add_option(*verb, "--prompt", options->prompt, "TEXT", "Text to continue (a newline)");
  add_option(*verb, "--tokens", options->num_tokens, "N",
             "Largest number of tokens to add; without a tokenizer, bytes");
  add_option(*verb, "--temperature", options->temperature, "X",
             "Sampling temperature; 0 takes the most likely token");
  add_option(*verb, "--top-k", options->top_k, "K",
             "Sample from the k most likely tokens; 0: from all");
  const auto device = std::make_shared<std::string>("cpu");
  add_option(*verb, "--device", *device, "NAME", "Where to compute: cpu, cuda or cuda:K");
  add_option(*verb, "--seed", options->seed, "N", "Equal seeds give equal text");
  verb->footer("Example: halfback generate --checkpoint run/checkpoint --prompt 'In the' --seed 7");
  verb->callback([options, device] {
    initialize_runtime();
    options->device = device_of_rank(parse_device(*device), 0);
    at::set_num_threads(num_cores());  // there are no ranks, so this thread computes
    options->on_tokenizer = [](const Tokenizer& tokenizer) {
      if (!tokenizer.files().empty()) {
        std::cerr << fmt::format("tokenizer: {}, {} tokens\n", tokenizer.name(),
                                 tokenizer.vocabulary());
      }
    };
    options->on_note = [](const std::string& text) {
      std::cerr << fmt::format("note: {}\n", text);
    };
    options->on_prompt = [](std::string_view text) { std::cout << text << std::flush; };
    generate(*options, [](std::string_view text) {
      return static_cast<bool>(std::cout << text << std::flush);
    });
    std::cout << '\n';
  });
}

}  // namespace halfback::cli
