#include "cli/program.h"

int main(int argc, char** argv) { return halfback::cli::run_program(argc, argv); }
