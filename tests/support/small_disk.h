// A disk of 64 KiB, to be filled. Needs root and a kernel that lets it mount.
#pragma once

#include "tests/support/temporary_directory.h"

#include <filesystem>
#include <sys/mount.h>

namespace halfback {

class SmallDisk {
 public:
  SmallDisk() {
    is_mounted_ = ::mount("tmpfs", directory_.path().c_str(), "tmpfs", 0, "size=64k") == 0;
  }
  ~SmallDisk() {
    if (is_mounted_) {
      ::umount2(directory_.path().c_str(), MNT_DETACH);
    }
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  bool is_mounted() const { return is_mounted_; }
  const std::filesystem::path& path() const { return directory_.path(); }

 private:
  TemporaryDirectory directory_;
  bool is_mounted_ = false;
};

}  // namespace halfback
