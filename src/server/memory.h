// Plain arrays of the current memory context.
#pragma once

#include "compat.h"

namespace unblock::server {

// An array without contents, or zeroed with MCXT_ALLOC_ZERO. It may be empty, and larger than the server's
// usual gigabyte. Raises an error when memory is short.
template <class T, class Number>
T* allocate(Number count, int flags = 0) {
	const Size elements = std::max<Size>(static_cast<Size>(count), 1);
	return static_cast<T*>(palloc_extended(sizeof(T) * elements, MCXT_ALLOC_HUGE | flags));
}

} // namespace unblock::server
