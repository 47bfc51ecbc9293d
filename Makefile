# A small front of Meson and Ninja.  Sanitized build: build/dev; optimised: build/release.
PREFIX ?= /usr/local
DESTDIR ?=
SECONDS_EACH ?= 300

.PHONY: run check check-long release dev bench fuzz install format clean
run:
	@tools/setup.sh build run
	@tools/build.sh release
	@tools/run.sh

check:
	@tools/setup.sh build run check
	@tools/check

check-long:
	@tools/setup.sh build run check fuzz
	@tools/check --long

release:
	@tools/setup.sh build
	@tools/build.sh release

dev:
	@tools/setup.sh build check
	@tools/build.sh dev

bench:
	@tools/setup.sh build run bench
	@tools/build.sh release
	@tools/linux.sh build/linux || true
	@STRATA_LINUX=$${STRATA_LINUX:-$(CURDIR)/build/linux} python3 bench/run.py $(BENCH)

fuzz:
	@tools/setup.sh build check fuzz
	@tools/fuzz.sh $(SECONDS_EACH)

install:
	@tools/setup.sh build
	@tools/build.sh release
	@meson configure build/release -Dprefix=$(abspath $(PREFIX))
	@DESTDIR=$(DESTDIR) meson install -C build/release --quiet
	@echo "installed in $(DESTDIR)$(abspath $(PREFIX))"

format:
	@tools/format --write

clean:
	@rm -rf build
