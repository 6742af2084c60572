# Girasol on workerd: the same Worker as on Cloudflare's network, on a machine of one's own.
# The tests run on this file too. After `cargo xtask build worker`:
#
#     workerd serve deploy/workerd.capnp \
#         --socket-addr http=127.0.0.1:7002 --directory-path disk=/var/lib/girasol
#
# workerd is in node_modules/@cloudflare/workerd-<platform>/bin. Settings are environment
# variables, listed under `bindings`; one that is not set counts as absent.

using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "girasol", worker = .girasol),
    # Where Durable Objects keep their SQLite files; --directory-path says which folder.
    (name = "disk", disk = (writable = true)),
    # How the Worker reaches git servers and bundle servers: also those of one's own network, but
    # not what machines say of themselves on link-local addresses. Who may set where a policy comes
    # from can have anything else of that network asked: narrow `allow` if that is too much.
    (name = "internet", network = (
      allow = ["public", "private"],
      deny = ["169.254.0.0/16", "fe80::/10"],
      tlsOptions = (trustBrowserCas = true),
    )),
  ],
  # Where HTTP and websockets arrive; --socket-addr says on which address.
  sockets = [(name = "http", http = (), service = "girasol")],
);

const girasol :Workerd.Worker = (
  # What `cargo xtask build worker` makes. The names are those by which index.js imports.
  modules = [
    (name = "index.js", esModule = embed "../build/index.js"),
    (name = "./index_bg.wasm", wasm = embed "../build/index_bg.wasm"),
  ],
  # As in wrangler.toml: the behaviour of the runtime as of this date.
  compatibilityDate = "2026-04-20",

  # One of each per scope, each with a SQLite database. The keys name their folders: never change
  # them, or the hubs lose their logs.
  durableObjectNamespaces = [
    (className = "Hub", uniqueKey = "girasol-hub", enableSql = true),
    (className = "Repository", uniqueKey = "girasol-repository", enableSql = true),
    (className = "Decider", uniqueKey = "girasol-decider", enableSql = true),
  ],
  durableObjectStorage = (localDisk = "disk"),

  bindings = [
    (name = "HUB", durableObjectNamespace = "Hub"),
    (name = "REPOSITORY", durableObjectNamespace = "Repository"),
    (name = "DECIDER", durableObjectNamespace = "Decider"),

    # Secrets. OPAL's names are read where ours are not set.
    (name = "GIRASOL_AUTH_MASTER_TOKEN", fromEnvironment = "GIRASOL_AUTH_MASTER_TOKEN"),
    (name = "GIRASOL_AUTH_PRIVATE_KEY", fromEnvironment = "GIRASOL_AUTH_PRIVATE_KEY"),
    (name = "GIRASOL_AUTH_PUBLIC_KEY", fromEnvironment = "GIRASOL_AUTH_PUBLIC_KEY"),
    (name = "OPAL_AUTH_MASTER_TOKEN", fromEnvironment = "OPAL_AUTH_MASTER_TOKEN"),
    (name = "OPAL_AUTH_PRIVATE_KEY", fromEnvironment = "OPAL_AUTH_PRIVATE_KEY"),
    (name = "OPAL_AUTH_PUBLIC_KEY", fromEnvironment = "OPAL_AUTH_PUBLIC_KEY"),

    # What signs the bundles that an OPA without an agent fetches, and whether it does.
    (name = "GIRASOL_BUNDLE_SIGNING_KEY", fromEnvironment = "GIRASOL_BUNDLE_SIGNING_KEY"),
    (name = "GIRASOL_BUNDLE_SIGNING", fromEnvironment = "GIRASOL_BUNDLE_SIGNING"),

    # What facts are sealed with: KID:KEY, the newest first.
    (name = "GIRASOL_FACTS_KEYS", fromEnvironment = "GIRASOL_FACTS_KEYS"),

    # What tokens must name as their audience and issuer.
    (name = "GIRASOL_AUTH_JWT_AUDIENCE", fromEnvironment = "GIRASOL_AUTH_JWT_AUDIENCE"),
    (name = "GIRASOL_AUTH_JWT_ISSUER", fromEnvironment = "GIRASOL_AUTH_JWT_ISSUER"),
    (name = "OPAL_AUTH_JWT_AUDIENCE", fromEnvironment = "OPAL_AUTH_JWT_AUDIENCE"),
    (name = "OPAL_AUTH_JWT_ISSUER", fromEnvironment = "OPAL_AUTH_JWT_ISSUER"),
    # What clients of the OPAL dialect get, under our names or OPAL's.
    (name = "GIRASOL_DATA_CONFIG_SOURCES", fromEnvironment = "GIRASOL_DATA_CONFIG_SOURCES"),
    (name = "OPAL_DATA_CONFIG_SOURCES", fromEnvironment = "OPAL_DATA_CONFIG_SOURCES"),
    (name = "GIRASOL_STATISTICS_ENABLED", fromEnvironment = "GIRASOL_STATISTICS_ENABLED"),
    (name = "OPAL_STATISTICS_ENABLED", fromEnvironment = "OPAL_STATISTICS_ENABLED"),
    (name = "GIRASOL_CLIENT_LOAD_LIMIT_NOTATION", fromEnvironment = "GIRASOL_CLIENT_LOAD_LIMIT_NOTATION"),
    (name = "OPAL_CLIENT_LOAD_LIMIT_NOTATION", fromEnvironment = "OPAL_CLIENT_LOAD_LIMIT_NOTATION"),
    (name = "GIRASOL_ALLOWED_ORIGINS", fromEnvironment = "GIRASOL_ALLOWED_ORIGINS"),
    (name = "OPAL_ALLOWED_ORIGINS", fromEnvironment = "OPAL_ALLOWED_ORIGINS"),
    (name = "GIRASOL_PUBLIC_URL", fromEnvironment = "GIRASOL_PUBLIC_URL"),
    # Where the policy comes from, under our names or OPAL's; the first two are ours alone.
    (name = "GIRASOL_POLICY_REPO_TOKEN", fromEnvironment = "GIRASOL_POLICY_REPO_TOKEN"),
    (name = "GIRASOL_POLICY_REPO_USERNAME", fromEnvironment = "GIRASOL_POLICY_REPO_USERNAME"),
    (name = "GIRASOL_POLICY_SOURCE_TYPE", fromEnvironment = "GIRASOL_POLICY_SOURCE_TYPE"),
    (name = "OPAL_POLICY_SOURCE_TYPE", fromEnvironment = "OPAL_POLICY_SOURCE_TYPE"),
    (name = "GIRASOL_POLICY_REPO_URL", fromEnvironment = "GIRASOL_POLICY_REPO_URL"),
    (name = "OPAL_POLICY_REPO_URL", fromEnvironment = "OPAL_POLICY_REPO_URL"),
    (name = "GIRASOL_POLICY_REPO_MAIN_BRANCH", fromEnvironment = "GIRASOL_POLICY_REPO_MAIN_BRANCH"),
    (name = "OPAL_POLICY_REPO_MAIN_BRANCH", fromEnvironment = "OPAL_POLICY_REPO_MAIN_BRANCH"),
    (name = "GIRASOL_POLICY_REPO_POLLING_INTERVAL", fromEnvironment = "GIRASOL_POLICY_REPO_POLLING_INTERVAL"),
    (name = "OPAL_POLICY_REPO_POLLING_INTERVAL", fromEnvironment = "OPAL_POLICY_REPO_POLLING_INTERVAL"),
    (name = "GIRASOL_POLICY_REFRESH_INTERVAL", fromEnvironment = "GIRASOL_POLICY_REFRESH_INTERVAL"),
    (name = "OPAL_POLICY_REFRESH_INTERVAL", fromEnvironment = "OPAL_POLICY_REFRESH_INTERVAL"),
    (name = "GIRASOL_POLICY_REPO_WEBHOOK_SECRET", fromEnvironment = "GIRASOL_POLICY_REPO_WEBHOOK_SECRET"),
    (name = "OPAL_POLICY_REPO_WEBHOOK_SECRET", fromEnvironment = "OPAL_POLICY_REPO_WEBHOOK_SECRET"),
    (name = "GIRASOL_POLICY_REPO_WEBHOOK_PARAMS", fromEnvironment = "GIRASOL_POLICY_REPO_WEBHOOK_PARAMS"),
    (name = "OPAL_POLICY_REPO_WEBHOOK_PARAMS", fromEnvironment = "OPAL_POLICY_REPO_WEBHOOK_PARAMS"),
    (name = "GIRASOL_POLICY_REPO_WEBHOOK_ENFORCE_BRANCH", fromEnvironment = "GIRASOL_POLICY_REPO_WEBHOOK_ENFORCE_BRANCH"),
    (name = "OPAL_POLICY_REPO_WEBHOOK_ENFORCE_BRANCH", fromEnvironment = "OPAL_POLICY_REPO_WEBHOOK_ENFORCE_BRANCH"),
    (name = "GIRASOL_POLICY_BUNDLE_URL", fromEnvironment = "GIRASOL_POLICY_BUNDLE_URL"),
    (name = "OPAL_POLICY_BUNDLE_URL", fromEnvironment = "OPAL_POLICY_BUNDLE_URL"),
    (name = "GIRASOL_POLICY_BUNDLE_SERVER_TYPE", fromEnvironment = "GIRASOL_POLICY_BUNDLE_SERVER_TYPE"),
    (name = "OPAL_POLICY_BUNDLE_SERVER_TYPE", fromEnvironment = "OPAL_POLICY_BUNDLE_SERVER_TYPE"),
    (name = "GIRASOL_POLICY_BUNDLE_SERVER_TOKEN", fromEnvironment = "GIRASOL_POLICY_BUNDLE_SERVER_TOKEN"),
    (name = "OPAL_POLICY_BUNDLE_SERVER_TOKEN", fromEnvironment = "OPAL_POLICY_BUNDLE_SERVER_TOKEN"),
    (name = "GIRASOL_POLICY_BUNDLE_SERVER_TOKEN_ID", fromEnvironment = "GIRASOL_POLICY_BUNDLE_SERVER_TOKEN_ID"),
    (name = "OPAL_POLICY_BUNDLE_SERVER_TOKEN_ID", fromEnvironment = "OPAL_POLICY_BUNDLE_SERVER_TOKEN_ID"),
    (name = "GIRASOL_POLICY_BUNDLE_SERVER_AWS_REGION", fromEnvironment = "GIRASOL_POLICY_BUNDLE_SERVER_AWS_REGION"),
    (name = "OPAL_POLICY_BUNDLE_SERVER_AWS_REGION", fromEnvironment = "OPAL_POLICY_BUNDLE_SERVER_AWS_REGION"),
    (name = "GIRASOL_FILTER_FILE_EXTENSIONS", fromEnvironment = "GIRASOL_FILTER_FILE_EXTENSIONS"),
    (name = "OPAL_FILTER_FILE_EXTENSIONS", fromEnvironment = "OPAL_FILTER_FILE_EXTENSIONS"),
    (name = "GIRASOL_BUNDLE_IGNORE", fromEnvironment = "GIRASOL_BUNDLE_IGNORE"),
    (name = "OPAL_BUNDLE_IGNORE", fromEnvironment = "OPAL_BUNDLE_IGNORE"),
    (name = "GIRASOL_POLICY_REPO_MANIFEST_PATH", fromEnvironment = "GIRASOL_POLICY_REPO_MANIFEST_PATH"),
    (name = "OPAL_POLICY_REPO_MANIFEST_PATH", fromEnvironment = "OPAL_POLICY_REPO_MANIFEST_PATH"),
    # What a policy must be to get in.
    (name = "GIRASOL_POLICY_GATE", fromEnvironment = "GIRASOL_POLICY_GATE"),
    (name = "GIRASOL_POLICY_RUN_TESTS", fromEnvironment = "GIRASOL_POLICY_RUN_TESTS"),
    (name = "GIRASOL_REGO_V0", fromEnvironment = "GIRASOL_REGO_V0"),
    (name = "GIRASOL_DECIDE_MAX_AGE_MS", fromEnvironment = "GIRASOL_DECIDE_MAX_AGE_MS"),
    (name = "GIRASOL_DECIDE_TOPICS", fromEnvironment = "GIRASOL_DECIDE_TOPICS"),
    (name = "GIRASOL_DECIDE_MAX_BYTES", fromEnvironment = "GIRASOL_DECIDE_MAX_BYTES"),
    (name = "GIRASOL_DECIDE_LOCATIONS", fromEnvironment = "GIRASOL_DECIDE_LOCATIONS"),
    # How much of the log is kept.
    (name = "GIRASOL_LOG_MAX_BYTES", fromEnvironment = "GIRASOL_LOG_MAX_BYTES"),
    (name = "GIRASOL_LOG_MAX_AGE_SECONDS", fromEnvironment = "GIRASOL_LOG_MAX_AGE_SECONDS"),
  ],
);
