// Lets MKL compute on the calling thread alone. Its order of sums depends on the number of its
// threads on processors that are not Intel's, although MKL_CBWR=AUTO,STRICT says otherwise: of thin
// products (31 x 24 with 24 x 3), every tenth has other bits on two threads than on one.
#pragma once

namespace halfback {

// For as long as it exists. Does nothing where libtorch has no MKL.
class OneMklThread {
 public:
  OneMklThread();
  ~OneMklThread();
  OneMklThread(const OneMklThread&) = delete;
  OneMklThread& operator=(const OneMklThread&) = delete;

 private:
  int previous_ = 0;
};

}  // namespace halfback
