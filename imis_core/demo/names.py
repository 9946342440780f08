"""Names for invented people of the south of Chad: words only; nothing here decides who is called what.

The lists mix what is common between Bongor and Moundou: French names of Christians, Arabic names, and Massa, Tupuri and
Sara names as they are written in French. They were put together for the demonstration and name nobody in particular.
"""

from __future__ import annotations

from typing import Final

# Given names of boys and men.
_MEN = """
    Abel Abraham Adoum Ahmat Alain Ali Allaissem Ambroise André Antoine Apollinaire Armand Assane Augustin
    Bakary Barthélemy Benjamin Bernard Blaise Boniface Bruno Célestin Charles Christophe Clément Dabou Daniel
    David Denis Dieudonné Djibrine Djimet Dominique Édouard Élie Emmanuel Étienne Eugène Ézéchiel Félix Fidèle
    François Gabriel Gaston Gédéon Georges Gilbert Golbassia Grégoire Guidaoussou Haroun Hassan Henri Hervé
    Hissein Honoré Ibrahim Idriss Ignace Isaac Isaïe Issa Jacob Jacques Jean Jean-Baptiste Jean-Claude Jérémie
    Jérôme Joachim Job Joël Jonas Joseph Josué Jules Justin Kaina Laurent Lazare Léon Luc Lucien Mahamat Marc
    Martin Mathias Matthieu Maurice Michel Moïse Moussa Narcisse Nathan Nestor Ngarlem Nicolas Noël Oumar
    Ousmane Pascal Patrice Paul Philippe Pierre Prosper Raphaël Raymond Richard Robert Roger Samuel Saleh
    Salomon Samson Sébastien Simon Sylvain Thomas Timothée Tite Tobie Urbain Valentin Victor Vincent Wangnamou
    Youssouf Zacharie
"""
GIVEN_NAMES_MEN: Final = tuple(_MEN.split())

# Given names of girls and women.
_WOMEN = """
    Achta Adèle Agathe Agnès Aimée Albertine Aline Amina Anastasie Angèle Anne Antoinette Apolline Assta
    Augustine Aïcha Béatrice Bernadette Berthe Brigitte Catherine Cécile Céline Chantal Charlotte Christine
    Claire Claudine Clémentine Colette Déborah Delphine Denenodji Denise Djamila Dorcas Dorothée Éléonore
    Élisabeth Élise Émilienne Esther Eugénie Eulalie Ève Fanta Fatimé Fatna Félicité Florence Françoise
    Geneviève Georgette Germaine Gisèle Halimé Hadja Haoua Hawa Hélène Henriette Hortense Irène Isabelle
    Jacqueline Jeanne Joséphine Judith Julienne Juliette Justine Kaltouma Khadidja Koulsoumé Laure Léa Léonie
    Lucie Lydie Madeleine Maïdé Mariam Marie Marie-Claire Marthe Martine Mathilde Mémouna Monique Naomie
    Nathalie Ndolassem Néloumta Nicole Noémie Odile Pauline Pélagie Perpétue Prisca Rachel Rahma Rebecca Régine
    Remadji Rosalie Rose Ruth Sabine Salomé Sara Solange Sophie Suzanne Sylvie Tabitha Thérèse Valérie Véronique
    Victorine Yvonne Zara Zenaba Zita
"""
GIVEN_NAMES_WOMEN: Final = tuple(_WOMEN.split())

# Family names, for everybody.
_FAMILIES = """
    Abakar Abdoulaye Adoumbaye Aïdara Allafi Allahdoum Allarabaye Allassem Assoumana Baïpou Baissaka Bangdi
    Bangzoumna Barka Bayang Bazoumna Bétoudji Bianzeube Bichara Bidongo Bissou Blaguet Bodoumi Bouba Dabsou
    Dadjo Dago Daïna Damba Dangmo Danna Dansala Datouma Debsikréo Denamadji Dering Dingamadji Djasra Djerabé
    Djidda Djikoloum Djimadoum Djimasta Djimrangar Djonga Domga Donang Dopsia Doudet Doumro Dourbé Fassou Fouba
    Foulla Gabsia Galmaï Gandaï Ganava Gapili Garandi Gassissou Gatchou Godjo Gomga Gonga Goni Gouara Guelmang
    Guidna Guirbaï Haïna Haïwang Hinbarka Hinsala Houla Houlna Igueda Kabé Kadam Kaïgamma Kakiang Kalbassou
    Kamougué Kelgué Kemssing Kidimou Klamong Kodi Kolyang Koulandi Koumaye Lagassou Lamba Langdi Larmé Likassou
    Madjiro Mahouli Maïlao Mallaye Mambaï Mangué Mbaïhondoum Mbaïlao Mbaïndo Mbaïrem Mbaïtoloum Menodji Moulna
    Nabia Nadjilem Nanadoum Ndjékoundadé Ndoubayidi Ngarbaroum Ngardinga Ngaro Ngaroudal Ngartolbaye Nodjimadji
    Ouin Padeu Pallaï Passoua Pofiné Ramadane Reoulengar Salassou Sanda Sougnabé Tao Tchindebet Temga Tobaï
    Toïna Tordjeu Toroum Vandi Vounki Wadjiri Wangba Wanré Wardougou Yamtebaye Yonoudjoum Zoua
"""
FAMILY_NAMES: Final = tuple(_FAMILIES.split())
