// bare_ring_module: RingEnd for Python, bytes in and bytes out.

#include <nanobind/nanobind.h>

#include "tests/perf/ring_end.h"

namespace nb = nanobind;
using ray_engine::Ring;
using ray_engine::RingEnd;

NB_MODULE(bare_ring_module, m) {
  nb::class_<Ring>(m, "Ring").def(nb::init<>());
  nb::class_<RingEnd>(m, "RingEnd")
      .def(nb::init<const Ring&, int>())
      .def("send",
           [](RingEnd& end, const nb::bytes& message) {
             end.Send({message.c_str(), message.size()});
           })
      .def("receive", [](RingEnd& end) {
        nb::bytes received;
        end.Receive([&](std::string_view message) { received = nb::bytes(message.data(), message.size()); }, 1);
        return received;
      });
}
