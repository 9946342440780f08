"""Words that people take when they must take a password, as `passwords` reads them: without what stands around."""

from __future__ import annotations

from typing import Final

_WORDS: Final = """
password passwort motdepasse contrasena senha passord wachtwoord parola haslo letmein welcome welcometo bienvenue
changeme changemenow changeit secret topsecret confidential login logmein signin access accessgranted enter admin
administrator administrateur root superuser sysadmin manager operator user username testuser guest default temporary
temp test testing tester example sample demo trustno iloveyou jetaime ilovegod godisgood jesuschrist blessed
football basketball baseball liverpool arsenal chelsea barcelona realmadrid superman batman pokemon starwars dragon
monkey princess sunshine shadow flower butterfly computer internet freedom whatever master hello helloworld
goodmorning mynameis mypassword thepassword yourpassword newpassword oldpassword passwordpassword passpass pass
passcode passphrase imis openimis insurance healthinsurance socialprotection government
ministry ministryofhealth health hospital clinic doctor nurse district province village kathmandu gambia tchad
ndjamena nepal africa january february march april june july august september october november december monday
tuesday wednesday thursday friday saturday sunday summer winter spring autumn
"""
COMMON: Final = frozenset(_WORDS.split())
