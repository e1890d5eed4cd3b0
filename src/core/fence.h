// Included last in every source file of core: no header of the server may have come in before.
#pragma once

#if defined(PG_VERSION_NUM) || defined(POSTGRES_H) || defined(C_H)
#error "src/core must not include PostgreSQL headers"
#endif
