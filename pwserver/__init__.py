"""Password Server: ``create_app`` builds the application, wires it, and returns it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pwserver.config import PROJECT, Config, from_environment

if TYPE_CHECKING:
    from flask import Flask


def create_app(config: Config | None = None, *, pages: bool = True) -> Flask:
    """Builds the application. Nothing starts with a wrong master key. ``pages`` False: workers and tests of the rules
    need no web."""
    from flask import Flask

    from pwserver import extensions
    from pwserver.services import keys, transaction

    config = config or from_environment()
    config.instance.mkdir(mode=0o700, parents=True, exist_ok=True)
    app = Flask(
        "pwserver",
        root_path=str(PROJECT),
        template_folder="templates",
        static_folder="static",
        instance_path=str(config.instance),
    )
    app.config.update(
        PWSERVER=config,
        SQLALCHEMY_DATABASE_URI=config.database,
        # An error text in the log shows no row's content.
        SQLALCHEMY_ENGINE_OPTIONS={"hide_parameters": True} | transaction.options_for(config.database),
        TESTING=config.testing,
        MAX_CONTENT_LENGTH=1 << 20,
    )
    extensions.db.init_app(app)
    extensions.migrate.init_app(app, extensions.db)
    with app.app_context():
        transaction.prepare_engine(extensions.db.engine)
        try:
            app.extensions["keyring"] = keyring = keys.load(config)
            app.config["SECRET_KEY"] = keyring.token("sessions")
            if keys.is_ready():
                keys.prove()
        except Exception:
            extensions.db.session.remove()
            extensions.db.engine.dispose()  # whoever is refused leaves no connection open
            raise
        extensions.db.session.remove()
    if pages:
        _wire_web(app)
    _wire_cli(app)
    return app


def _wire_web(app: Flask) -> None:
    from pwserver import web

    web.init_app(app)


def _wire_cli(app: Flask) -> None:
    from pwserver import cli

    cli.init_app(app)
