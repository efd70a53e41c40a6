# A thin front of Meson. `make help` lists the targets.
.PHONY: help run build program test lint format bench clean

RELEASE := build/release
TEST := build/test

help:
	@echo 'make run      install missing Debian packages, build, start three nodes on this machine (gramme dev)'
	@echo 'make build    build/gramme and the simulator build/gramme-sim, optimised'
	@echo 'make test     install missing Debian packages, build with sanitizers, run every test'
	@echo 'make lint     formatting, static analysis, layers, symbols of the core, lengths'
	@echo 'make format   reformat the sources in place'
	@echo 'make bench    the benchmarks of bench/run'
	@echo 'make clean    remove build/'

run: program | setup-run
	@exec build/gramme dev

program: $(RELEASE)/build.ninja
	@ninja -C $(RELEASE) gramme
	@ln -sfn release/gramme build/gramme

build: program
	@ninja -C $(RELEASE) sim/gramme-sim sim/gramme-sim-plant
	@ln -sfn release/sim/gramme-sim build/gramme-sim
	@ln -sfn release/sim/gramme-sim-plant build/gramme-sim-plant

$(RELEASE)/build.ninja: | setup-build
	@meson setup $(RELEASE)

test: | setup-test
	@tools/run-tests $(TEST)

lint: | setup-lint
	@tools/lint $(RELEASE)

format: | setup-lint
	@find src test sim -name '*.[ch]' 2>/dev/null | xargs clang-format -i

bench: build | setup-bench
	@bench/run

clean:
	@rm -rf build

.PHONY: setup-build setup-run setup-test setup-lint setup-bench
setup-%:
	@tools/setup $*
