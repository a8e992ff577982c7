# The entry points for people and CI. Each target first makes what it needs; `make help` lists them.

PYTHON = .venv/bin/python
ARGS =
# Hundreds of processes start in a run of the tests. Each compiles every module anew where this is set.
export PYTHONDONTWRITEBYTECODE =

.DEFAULT_GOAL := help
.PHONY: help run demo test test-long check golden screenshots bench soak interop pgbouncer patroni image-test clients pin lock vendor audit sbom clean environment

help: ## this list
	@awk 'BEGIN { FS = ":.*## " } /^##@ / { printf "\n%s\n", substr($$0, 5) } /^##: / { printf "  %s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

##@ Run
run: environment ## everything on this machine, until Ctrl-C: servers, sign-in, API, keeper
	@.venv/bin/timewarden up $(ARGS)

demo: environment ## play the whole story over HTTP and print it
	@.venv/bin/timewarden demo $(ARGS)

##@ Test
test: check ## check, then the tests, three files at a time (ARGS="-k approve" narrows them)
	@$(PYTHON) -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not long" $(ARGS)

test-long: environment ## slow tests, laws with ten times the examples, soak, interop, clients, pgbouncer, patroni (about 30 minutes)
	@sh .ci/long

check: environment ## format, lint, types, imports, commit messages; prints the import graph by room
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m mypy
	@.venv/bin/lint-imports
	@sh .ci/commits
	@$(PYTHON) -m tests.house_report

bench: environment ## benchmarks beside peers: all, or one (ARGS=engine)
	@sh .ci/bench $(ARGS)

soak: environment ## an hour of traffic while processes are killed, then a check of the log (ARGS="--minutes 5")
	@$(PYTHON) -m tests.soak $(ARGS)

interop: environment ## the token verifier against oidc-provider (needs Node.js)
	@sh .ci/interop $(ARGS)

pgbouncer: environment ## the service behind PgBouncer, in session and in transaction pooling
	@sh .ci/pgbouncer $(ARGS)

patroni: environment ## the service on three nodes of Patroni, whose leader is lost under load (needs etcd)
	@sh .ci/patroni $(ARGS)

image-test: environment ## build the image without a registry and start it (needs root, buildah, mmdebstrap)
	@sh .ci/image $(ARGS)

clients: environment ## build the client packages and the verifier into dist/ and try them (TypeScript needs Node.js)
	@sh .ci/clients $(ARGS)

pin: ## pin the base images by their digests (needs skopeo and the registry)
	@sh .ci/pin

lock: environment ## rewrite the lock files from pyproject.toml
	@sh .ci/lock $(ARGS)

vendor: ## fetch the files of others in this repository again, by version and checksum (needs Node.js)
	@sh .ci/vendor

audit: environment ## look the locked packages up in a database of vulnerabilities (needs the network)
	@sh .ci/audit

sbom: environment ## write dist/sbom.json, the bill of materials of the locked packages (CycloneDX)
	@sh .ci/sbom

golden: environment ## rewrite the golden files: schema, OpenAPI, events, problems; read the diff
	@$(PYTHON) -m tests.golden

screenshots: environment ## take the console's screenshots in the README anew (needs Chromium)
	@$(PYTHON) -m pytest -q -n 0 tests/browser/test_looks.py
	@for page in week-draft inbox decisions people; do cp .local/screenshots/$$page-first.png docs/screenshots/$$page.png; done

##@ Policy (while `make run` runs)
##: .venv/bin/timewarden policy propose -m WHY    propose the rules of policies/ as a new version
##: .venv/bin/timewarden policy activate latest   activate it for all requests

##@ Data
clean: ## stop what runs from here; remove .venv, .local with ALL ITS DATA, and caches
	@if [ -d .local ] && python=$$(BASE_PYTHON= sh .ci/python); then "$$python" -m service.development.local_servers stop .local; fi
	@rm -rf .venv .local .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .schemathesis build dist *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "clean"

environment:
	@sh .ci/install
