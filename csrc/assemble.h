// SPDX-License-Identifier: Apache-2.0
// One element of a masked input, once, for host and device.
#ifndef JAXINTER_ASSEMBLE_H_
#define JAXINTER_ASSEMBLE_H_

#include "common.h"

namespace jaxinter {

// `coalition` has bit i set when player i is present, and bit n (n players) always set: the bit of
// elements that belong to no player. T is any type of the element's size; W an unsigned word.
template <class T, class W>
JAXINTER_INLINE T MaskedElement(W coalition, W bit, T x, T baseline) {
  return (coalition >> bit) & W{1} ? x : baseline;
}

}  // namespace jaxinter

#endif  // JAXINTER_ASSEMBLE_H_
