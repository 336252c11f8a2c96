"""The application without pages and commands: its settings, its database, its master key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pwserver.config import PROJECT, Config

if TYPE_CHECKING:
    from flask import Flask


def lay(config: Config) -> Flask:
    """Builds it. Nothing starts with a wrong master key."""
    from flask import Flask

    from pwserver import extensions
    from pwserver.services import keys, transaction

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
    return app
