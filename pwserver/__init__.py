"""Password Server: ``create_app`` builds the application, wires it, and returns it."""

from __future__ import annotations

from flask import Flask

from pwserver.config import PROJECT, Config, from_environment


def create_app(config: Config | None = None) -> Flask:
    """Builds the application. Opens the master key and its canary: nothing starts with a wrong key."""
    from pwserver import extensions
    from pwserver.services import keys, transaction

    config = config or from_environment()
    config.instance.mkdir(mode=0o700, parents=True, exist_ok=True)
    app = Flask("pwserver", root_path=str(PROJECT), template_folder="templates", static_folder="static", instance_path=str(config.instance))
    keyring = keys.load(config)
    app.config.update(
        PWSERVER=config,
        SECRET_KEY=keyring.token("sessions"),
        SQLALCHEMY_DATABASE_URI=config.database,
        TESTING=config.testing,
        MAX_CONTENT_LENGTH=1 << 20,
    )
    app.extensions["keyring"] = keyring
    extensions.db.init_app(app)
    extensions.migrate.init_app(app, extensions.db)
    with app.app_context():
        transaction.prepare_engine(extensions.db.engine)
    _wire_web(app)
    _wire_cli(app)
    return app


def _wire_web(app: Flask) -> None:
    from pwserver import web

    web.init_app(app)


def _wire_cli(app: Flask) -> None:
    from pwserver import cli

    cli.init_app(app)
