from tests import dialects

dialects.install()
