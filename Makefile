# Needs Go, make and git; gcc too for the race detector. Everything else is
# built from source, pinned below tools/.

PLUGIN   := vault-plugin-secrets-aws-iam
MODULES  := . e2e scripts/bench
LINTER   := bin/golangci-lint
SCANNER  := bin/govulncheck
FUZZTIME ?= 30s

# The version that the plugin reports to Vault, which must be semantic: from the
# newest tag. Without one, or in a copy without git, the source's own stands.
VERSION ?= $(shell git describe --tags --match 'v[0-9]*.[0-9]*.[0-9]*' 2>/dev/null)
LDFLAGS := -s -w $(if $(VERSION),-X $(PLUGIN).Version=$(VERSION))

# Lines such as "target: ## what it does" below are what help shows.
.PHONY: help
help: ## list these targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)$$/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 26

# No -buildvcs: the same source gives the same SHA-256, from a clone or an
# archive, whoever owns the folder.
.PHONY: build
build: ## build the plugin, a static binary, into bin/
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(strip $(LDFLAGS))' -o bin/$(PLUGIN) ./cmd/$(PLUGIN)

.PHONY: credential-process
credential-process: ## the helper for AWS's SDKs and command line (examples/aws-cli), into bin/
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o bin/aws-iam-credential-process ./scripts/credential-process

.PHONY: release
release: ## what is published, for all platforms, made twice and compared (20 minutes), into dist/
	rm -rf dist
	go run ./scripts/release -out dist -version '$(VERSION)'

.PHONY: test
test: vault ## everything that must pass: lint, unit tests under the race detector, e2e, chaos
	@scripts/test.sh shake+ lint race e2e

.PHONY: unit
unit: ## unit tests, quickly
	go test -parallel 8 ./...
	cd scripts/bench && go test ./...

.PHONY: race
race: ## unit tests under the race detector, in random order
	@command -v moto_server >/dev/null || echo "moto_server is not on the PATH: the simulated AWS is NOT compared with it."
	CGO_ENABLED=1 go test -race -shuffle=on -parallel 8 -timeout 20m ./...
	cd scripts/bench && CGO_ENABLED=1 go test -race -shuffle=on ./...

# The server comes first and by itself: building it takes longer than go test
# grants a test binary.
.PHONY: e2e
e2e: vault ## tests against a real Vault server, built first if there is none
	@for tool in aws node npm systemd-analyze terraform; do \
		command -v $$tool >/dev/null || echo "$$tool is not on the PATH: what it does for examples/ is NOT run."; \
	done
	cd e2e && go test -count=1 -timeout 30m -skip '^TestChaos$$' ./...

.PHONY: shake
shake: vault ## a short chaos run; most of it waits for what AWS takes minutes to be sure of
	cd e2e && go test -count=1 -timeout 30m -run '^TestChaos$$' .

.PHONY: fuzz
fuzz: ## every fuzz target, for FUZZTIME (default 30s) each
	@scripts/fuzz.sh $(FUZZTIME)

.PHONY: lint
lint: $(LINTER) ## static checks of all modules, and the syntax of the scripts
	@set -e; for module in $(MODULES); do \
		echo "golangci-lint run ($$module)"; \
		(cd $$module && $(CURDIR)/$(LINTER) run --config $(CURDIR)/.golangci.yml ./...); \
	done
	@set -e; for script in .ci/run scripts/*.sh; do echo "bash -n $$script"; bash -n $$script; done

.PHONY: vulncheck
vulncheck: $(SCANNER) ## known vulnerabilities in what the plugin calls; asks vuln.go.dev
	GOTOOLCHAIN=go$(shell cat .go-version) $(SCANNER) ./cmd/...

.PHONY: fmt
fmt: $(LINTER) ## format all Go code
	@set -e; for module in $(MODULES); do \
		(cd $$module && $(CURDIR)/$(LINTER) fmt --config $(CURDIR)/.golangci.yml); \
	done

.PHONY: demo
demo: ## the whole story on this machine; HOLD=1 stays up, AWS=real uses your account
	@echo "Compiling the demo. The first time this takes a minute or two."
	@HOLD='$(HOLD)' AWS='$(AWS)' go run ./scripts/demo

.PHONY: chaos
chaos: ## shake a cluster: SEED=1 DURATION=5m NODES=3, goals KILLS=300 FAULTS=2000
	@SEED='$(SEED)' DURATION='$(DURATION)' NODES='$(NODES)' KILLS='$(KILLS)' FAULTS='$(FAULTS)' go run ./scripts/chaos

.PHONY: bench
bench: ## beside the built-in aws engine: RUNS=1 SOAK=10m SECTIONS=a,b,... QUICK=1 PLAIN=1 RENDER=1
	@cd scripts/bench && RUNS='$(RUNS)' SOAK='$(SOAK)' SECTIONS='$(SECTIONS)' QUICK='$(QUICK)' PLAIN='$(PLAIN)' RENDER='$(RENDER)' go run .

.PHONY: vault
vault: ## find a Vault server, or build one into bin/ (about 9 minutes, once)
	@go run ./scripts/get-vault

.PHONY: docs
docs: ## write what README.md and docs/ have of the code's into them
	go test -count=1 -run '^Test(READMEShowsThePolicies|OpenAPIIsUpToDate|APIReferenceIsUpToDate)$$' -update .

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist

$(LINTER): tools/golangci-lint/go.mod tools/golangci-lint/go.sum
	@echo "Building golangci-lint from source (tools/golangci-lint). Once, this takes about 2 minutes."
	cd tools/golangci-lint && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' \
		-o $(CURDIR)/$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(SCANNER): tools/govulncheck/go.mod tools/govulncheck/go.sum
	cd tools/govulncheck && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' \
		-o $(CURDIR)/$@ golang.org/x/vuln/cmd/govulncheck
