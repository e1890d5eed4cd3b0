# The official image with the extension, preloaded:
#
#     docker build --build-arg PG_MAJOR=17 --tag postgres-pg_unblock .
#
# It takes nothing but Debian packages, from the archives that the image is set up for: its server is not Debian's
# own, and the headers must match it.
ARG PG_MAJOR=17
FROM postgres:${PG_MAJOR}-trixie AS build
ARG PG_MAJOR
RUN apt-get update && apt-get install --yes --no-install-recommends g++ make postgresql-server-dev-${PG_MAJOR}
COPY . /source
RUN make -C /source -j "$(nproc)" PG_CONFIG=/usr/lib/postgresql/${PG_MAJOR}/bin/pg_config \
 && make -C /source PG_CONFIG=/usr/lib/postgresql/${PG_MAJOR}/bin/pg_config DESTDIR=/installed install

FROM postgres:${PG_MAJOR}-trixie
COPY --from=build /installed /
# What new clusters begin with; their postgresql.conf and ALTER SYSTEM can add to it.
RUN echo "shared_preload_libraries = 'pg_unblock'" >>/usr/share/postgresql/postgresql.conf.sample
